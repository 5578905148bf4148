"""Jacobian and tangent kernel of a fully connected network, layer by layer."""

from .mlp import LayerJacobian as LayerJacobian, ScaledLayerJacobian as ScaledLayerJacobian
from .tangent_kernel import (
    infinite_width_kernel as infinite_width_kernel,
    is_layerwise as is_layerwise,
    layer_jacobian as layer_jacobian,
    layer_kernel as layer_kernel,
)
