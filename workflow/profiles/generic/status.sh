#!/bin/sh
# What became of one job of SLURM: running, success or failed.
case "$(squeue --states=all --noheader --jobs="$1" --format=%T)" in
    COMPLETED) echo success ;;
    PENDING | CONFIGURING | RUNNING | SUSPENDED | COMPLETING | REQUEUED) echo running ;;
    *) echo failed ;;
esac
