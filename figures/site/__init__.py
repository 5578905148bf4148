"""The documentation's site; `python -m figures.site` builds it. Only for that: annotations of arrays are imported here as a reader wrote them."""

import typing

typing.GENERATING_DOCUMENTATION = True  # jaxtyping's switch: `Float[Array, " n"]` keeps this name in signatures  # pyright: ignore
