"""LLaMA and the models that share its decoder block (Mistral; grouped-query attention included)."""

from rankwise.models.base import Family

FAMILY = Family(
    architectures=("LlamaForCausalLM", "MistralForCausalLM"),
    layers="model.layers",
    sites={
        "attention_in": {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj"},
        "attention_out": {"o": "self_attn.o_proj"},
        "mlp_in": {"gate": "mlp.gate_proj", "up": "mlp.up_proj"},
        "mlp_out": {"down": "mlp.down_proj"},
    },
    sublayers={"attention": "self_attn", "mlp": "mlp"},
)
