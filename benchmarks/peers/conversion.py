"""open_clip's weights under transformers' names."""

from __future__ import annotations

from typing import Any

_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_NAMES = {
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}


def transformers_model(weights: dict[str, Any], *, end_token: int) -> Any:
    """A ``CLIPModel`` of transformers with the weights of open_clip's ViT-B-32-quickgelu."""
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig()  # its defaults are this architecture
    config.text_config.eos_token_id = end_token
    model = CLIPModel(config).eval()
    missing, unexpected = model.load_state_dict(_renamed(weights), strict=False)
    left = [name for name in (*missing, *unexpected) if "position_ids" not in name]
    if left:
        raise RuntimeError(f"weights that do not fit transformers' CLIP: {left}")
    return model


def _renamed(weights: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "text_projection.weight": weights["text_projection"].T,
        "visual_projection.weight": weights["visual.proj"].T,
    }
    for name, tensor in weights.items():
        if name in _NAMES:
            found[_NAMES[name]] = tensor
        elif "resblocks." in name:
            tower = "vision_model" if name.startswith("visual.") else "text_model"
            number, inner = name.split("resblocks.")[1].split(".", 1)
            layer = f"{tower}.encoder.layers.{number}"
            if inner.startswith("attn.in_proj_"):
                ending = inner.removeprefix("attn.in_proj_")
                for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                    found[f"{layer}.self_attn.{letter}_proj.{ending}"] = part
            else:
                module, ending = inner.rsplit(".", 1)
                found[f"{layer}.{_BLOCK[module]}.{ending}"] = tensor
    return found
