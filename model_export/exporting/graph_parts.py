"""Which nodes of an exported graph may run in fewer bits, and which stay fp32 in every precision.

Convolutions, their activations, residual sums and poolings carry the time and bear rounding. V-Net's softmax, GAM, LAM,
the fusion, normalisations and LRN stay fp32: their values span ranges that few bits do not.
"""

import onnx

_ACTIVATIONS = ("Clip", "Relu", "MaxPool", "Pad")
_SHARED = ".shared."
_KEPT_WEIGHTS = (".gam.", "band")  # parts of names of weights: GAM's convolutions, LRN's sum over channels


def reducible_nodes(graph: onnx.GraphProto, *, first_kept: int = 0) -> list[str]:
    """Names of the nodes that may leave fp32, in the graph's order; every node needs a name.

    ``first_kept`` of M-Net's shared convolutions, from the picture on, stay: all others inherit their rounding.
    """
    producer = {output: node for node in graph.node for output in node.output}
    chosen: dict[str, None] = {}

    def comes_from_chosen(tensor: str) -> bool:
        return tensor in producer and producer[tensor].name in chosen

    shared = [node.name for node in graph.node if node.op_type == "Conv" and _SHARED in node.input[1]]
    first = set(shared[:first_kept])
    for node in graph.node:  # ONNX keeps them in an order in which inputs come first
        is_convolution = node.op_type == "Conv" and not any(part in node.input[1] for part in _KEPT_WEIGHTS)
        is_convolution = is_convolution and node.name not in first
        is_activation = node.op_type in _ACTIVATIONS and comes_from_chosen(node.input[0])
        is_residual = node.op_type == "Add" and any(map(comes_from_chosen, node.input))
        if is_convolution or is_activation or is_residual:
            chosen[node.name] = None
    return list(chosen)
