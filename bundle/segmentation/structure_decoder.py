"""A mask decoder for objects whose names are known: the structure's own query, beside prompts, asks for its mask."""

import copy

import torch
from torch import Tensor, nn

from bundle.segmentation.segmenter import Segmenter, upscale


class StructureDecoder(nn.Module):
    """Takes the place of SAM 2's mask decoder in a model that tracks named structures.

    SAM 2's mask tokens mean "whatever is prompted". Here the tokens are the queries of automatic masks, followed by the
    prompt's; the answer is read from the object's own query. Without prompts and memory it is the automatic mask.

    Args:
        segmenter: Its mask decoder and structure queries are copied, so that what is trained here leaves it as it is.
        padding: Embedding of "not a point" of the model's prompt encoder; such tokens are left out.
    """

    structure: Tensor

    def __init__(self, segmenter: Segmenter, padding: nn.Embedding) -> None:
        super().__init__()
        self.decoder = copy.deepcopy(segmenter.mask_decoder)
        self.queries = copy.deepcopy(segmenter.structure_queries)
        self.latest: Tensor | None = None
        """Mask logits ``(N, 1, 4h, 4w)`` of the latest call, before SAM 2 empties those of absent structures."""
        self._padding = [padding]  # in a list, since it is the prompt encoder's to save
        self.register_buffer("structure", torch.zeros(1, dtype=torch.long), persistent=False)

    @property
    def conv_s0(self) -> nn.Module:
        """The decoder's projection at stride 4."""
        return self.decoder.conv_s0

    @property
    def conv_s1(self) -> nn.Module:
        """The decoder's projection at stride 8."""
        return self.decoder.conv_s1

    def ask_for(self, structure: Tensor) -> None:
        """Set which structure each object of the next batches is, by channels ``(N,)``."""
        self.structure = structure.to(self.structure.device)

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        repeat_image: bool,
        high_res_features: list[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As SAM 2's ``MaskDecoder``, with one mask per object of embeddings ``(N, C, h, w)``.

        A name is not ambiguous and there is an embedding for every object: the two flags must be False.

        Returns:
            Mask logits ``(N, 1, 4h, 4w)``, estimated IoU ``(N, 1)``, the query after the transformer ``(N, 1, C)`` and
            the logit of the structure's presence ``(N, 1)``.
        """
        count, channels, height, width = image_embeddings.shape
        if multimask_output or repeat_image or len(self.structure) != count:
            raise ValueError(f"{len(self.structure)} named structures have one mask each, got {count} embeddings")
        queries = self.queries.queries.weight.unsqueeze(0).expand(count, -1, -1)
        is_said = (sparse_prompt_embeddings != self._padding[0].weight).any(dim=-1).any(dim=0)  # (P,)
        tokens = torch.cat([queries, sparse_prompt_embeddings[:, is_said]], dim=1)
        tokens, embedding = self.decoder.transformer(
            image_embeddings + dense_prompt_embeddings, image_pe.expand(count, -1, -1, -1), tokens
        )
        embedding = embedding.transpose(1, 2).reshape(count, channels, height, width)
        upscaled = upscale(self.decoder, embedding, (high_res_features[0], high_res_features[1]))
        token = tokens[torch.arange(count, device=tokens.device), self.structure]
        masks = torch.einsum("nc,nchw->nhw", self.queries.hypernetwork(token), upscaled).unsqueeze(1)
        self.latest = masks if self.training else None
        iou, presence = self.queries.quality(token).unbind(-1)
        return masks, iou.sigmoid()[:, None], token[:, None], presence[:, None]
