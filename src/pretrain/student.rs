//! The network that learns, and what it sees of an image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Mask;
use crate::engine::{Engine, EngineError, Result};
use crate::nn::{Loader, WeightError};
use crate::vit::{DropPath, PatchView, Site, Vit, VitConfig};

/// What becomes of the patches that a mask hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// The encoder never meets them (MAE).
    Sparse,
    /// A learned mask token stands in their places (BEiT).
    Dense,
}

/// The student on an engine.
#[derive(Clone, Debug)]
pub struct Student<E: Engine> {
    vit: Vit<E>,
    encoding: Encoding,
    /// `[1, 1, D]`, where patches are hidden behind it.
    mask_token: Option<E::Tensor>,
}

/// What a student makes of images.
#[derive(Clone, Debug)]
pub struct Encoded<E: Engine> {
    /// Tokens before the patches.
    pub prefix: usize,
    /// The last block's tokens under the final normalisation, where a term reads them:
    /// `[B, P + K, D]`, of a dense encoder `[B, P + N, D]`.
    pub normed: Option<E::Tensor>,
    /// Outputs of the blocks that a term reads, of the same shape.
    pub blocks: BTreeMap<usize, E::Tensor>,
}

impl<E: Engine> Student<E> {
    /// From the encoder's tensors under timm's names, and `mask_token` where an encoder of all
    /// patches has some of them hidden.
    pub fn load(
        loader: &mut Loader<'_, E>,
        config: &VitConfig,
        encoding: Encoding,
        hides: bool,
    ) -> std::result::Result<Self, WeightError> {
        let token = || loader.take("mask_token", &[1, 1, config.width]);
        let mask_token = (encoding == Encoding::Dense && hides).then(token);
        Ok(Self {
            mask_token: mask_token.transpose()?,
            vit: Vit::load(loader, config)?,
            encoding,
        })
    }

    /// The encoder.
    pub fn vit(&self) -> &Vit<E> {
        &self.vit
    }

    /// What becomes of hidden patches.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// images: `[B, C, H, W]`, normalised; of `blocks` the outputs are kept, of the last the
    /// normalised one where `normed` says so
    ///
    /// # Errors
    /// A mask of other images, or one that shows a sparse encoder more of one image than of another.
    pub fn encode(
        &self,
        engine: &E,
        images: &E::Tensor,
        mask: &Mask,
        (blocks, normed): (&[usize], bool),
        dropped: Option<&DropPath<E>>,
    ) -> Result<Encoded<E>> {
        let config = self.vit.config();
        let batch = engine.shape(images).first().copied().unwrap_or_default();
        if (mask.batch(), mask.patches()) != (batch, config.patches()) {
            return Err(refused(format!(
                "a mask of {} samples of {} patches for {batch} images of {}",
                mask.batch(),
                mask.patches(),
                config.patches()
            )));
        }
        let hidden = mask.hidden();
        let seen = mask.seen();
        let view = match (self.encoding, &self.mask_token) {
            (Encoding::Dense, Some(mask_token)) => PatchView::Hiding {
                mask_token,
                hidden: &hidden,
            },
            (Encoding::Dense, None) => PatchView::All,
            (Encoding::Sparse, _) => {
                let Some(seen) = &seen else {
                    let message = "a sparse encoder sees as many patches of every image";
                    return Err(refused(message.to_owned()));
                };
                PatchView::Seeing(seen)
            }
        };
        let mut kept = BTreeMap::new();
        let wants = |site: Site| matches!(site, Site::Block(block) if blocks.contains(&block));
        let mut visit = |site: Site, tokens: &E::Tensor| {
            if let Site::Block(block) = site {
                kept.insert(block, tokens.clone());
            }
            Ok(())
        };
        let how = (&view, dropped);
        let tokens = self.vit.train(engine, images, how, &wants, &mut visit)?;
        Ok(Encoded {
            prefix: config.prefix(),
            normed: normed
                .then(|| self.vit.normalise(engine, &tokens))
                .transpose()?,
            blocks: kept,
        })
    }
}

fn refused(message: String) -> EngineError {
    EngineError {
        op: "student",
        message,
    }
}
