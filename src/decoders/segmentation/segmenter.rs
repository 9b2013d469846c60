//! An encoder and what makes classes of its blocks.

use std::collections::BTreeMap;

use super::{Pass, Predictions, SegmentationDecoder, SegmenterConfig};
use crate::engine::{Engine, EngineError, Result};
use crate::nn::{Loader, WeightError};
use crate::vit::{DropPath, PatchView, Site, Vit};

/// An encoder and what makes classes of its blocks.
#[derive(Clone, Debug)]
pub struct Segmenter<E: Engine> {
    vit: Vit<E>,
    decoder: SegmentationDecoder<E>,
    config: SegmenterConfig,
}

impl<E: Engine> Segmenter<E> {
    /// Over an encoder of the architecture [`SegmenterConfig::encoder`], which may be of constants;
    /// the rest under mmsegmentation's names.
    pub fn load(
        loader: &mut Loader<'_, E>,
        vit: Vit<E>,
        config: &SegmenterConfig,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            vit,
            decoder: SegmentationDecoder::load(loader, config)?,
            config: config.clone(),
        })
    }

    /// The encoder.
    pub fn vit(&self) -> &Vit<E> {
        &self.vit
    }

    /// What stands over it.
    pub fn decoder(&self) -> &SegmentationDecoder<E> {
        &self.decoder
    }

    /// Classes K.
    pub fn classes(&self) -> usize {
        self.config.classes()
    }

    /// What the auxiliary head's loss counts for, where there is one.
    pub fn auxiliary_weight(&self) -> Option<f64> {
        self.config.auxiliary_weight()
    }

    /// images: `[B, C, H, W]`, normalised -> logits `[B, h, w, K]`, of the finest level's size or, of
    /// a linear head, of the patch grid's
    pub fn logits(&self, engine: &E, images: &E::Tensor) -> Result<E::Tensor> {
        let blocks = self.blocks(engine, images, None)?;
        let predictions = self
            .decoder
            .forward(engine, &blocks, &mut Pass::Evaluation)?;
        Ok(predictions.logits)
    }

    /// As it learns, with branches of the encoder left out. An encoder of constants keeps no graph.
    ///
    /// images: `[B, C, H, W]`, normalised
    pub fn train(
        &self,
        engine: &E,
        images: &E::Tensor,
        dropped: Option<&DropPath<E>>,
        pass: &mut Pass<'_>,
    ) -> Result<Predictions<E>> {
        let blocks = self.blocks(engine, images, dropped)?;
        self.decoder.forward(engine, &blocks, pass)
    }

    /// Handles to the running statistics.
    pub fn buffers(&self) -> Vec<(String, E::Tensor)> {
        self.decoder.buffers()
    }

    /// Patches of the blocks that the head reads, under the last norm where it reads them so.
    ///
    /// images: `[B, C, H, W]` -> each `[B, h, w, D]`
    fn blocks(
        &self,
        engine: &E,
        images: &E::Tensor,
        dropped: Option<&DropPath<E>>,
    ) -> Result<Vec<E::Tensor>> {
        let wanted = self.config.blocks();
        let mut found = BTreeMap::new();
        let wants = |site: Site| matches!(site, Site::Block(block) if wanted.contains(&block));
        let mut visit = |site: Site, tokens: &E::Tensor| {
            if let Site::Block(block) = site {
                found.insert(block, self.patches(engine, tokens)?);
            }
            Ok(())
        };
        let how = (&PatchView::All, dropped);
        self.vit.train(engine, images, how, &wants, &mut visit)?;
        let block = |block: &usize| {
            found.get(block).cloned().ok_or_else(|| EngineError {
                op: "segmenter",
                message: format!("the encoder has no block {block}"),
            })
        };
        wanted.iter().map(block).collect()
    }

    /// tokens: `[B, N, D]` -> `[B, h, w, D]`
    fn patches(&self, engine: &E, tokens: &E::Tensor) -> Result<E::Tensor> {
        let config = self.vit.config();
        let [rows, columns] = config.grid;
        let tokens = match self.config.reads_norm() {
            true => self.vit.normalise(engine, tokens)?,
            false => tokens.clone(),
        };
        let patches = engine.narrow(&tokens, 1, config.prefix(), config.patches())?;
        let batch = engine.shape(&patches)[0];
        engine.reshape(&patches, &[batch, rows, columns, config.width])
    }
}
