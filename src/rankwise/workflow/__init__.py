"""The glue of Snakemake and DVC: rules, engines, locks, clusters, code fingerprints."""
