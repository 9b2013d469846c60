//! mmsegmentation's `UPerHead` (`mmseg/models/decode_heads/uper_head.py`, `psp_head.py`).

use super::conv_module::{ConvModule, Kernel};
use super::{Pass, Statistics, UperNetConfig};
use crate::engine::{Engine, EngineError, Result};
use crate::nn::{Linear, Loader, WeightError, adaptive_average_pool};

/// Levels above the coarsest.
const FINER: usize = 3;

/// Pyramid pooling of the coarsest level, laterals added from the top down, and all levels joined
/// at the size of the finest.
#[derive(Clone, Debug)]
pub struct UperHead<E: Engine> {
    /// Bins a side, and what follows each pooling.
    poolings: Vec<(usize, ConvModule<E>)>,
    bottleneck: ConvModule<E>,
    laterals: Vec<ConvModule<E>>,
    outputs: Vec<ConvModule<E>>,
    joined: ConvModule<E>,
    conv_seg: Linear<E>,
    dropout: f64,
}

impl<E: Engine> UperHead<E> {
    /// From `decode_head.psp_modules.N.1`, `bottleneck`, `lateral_convs.N`, `fpn_convs.N`,
    /// `fpn_bottleneck` and `conv_seg`.
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        config: &UperNetConfig,
        (width, classes): (usize, usize),
    ) -> std::result::Result<Self, WeightError> {
        let channels = config.channels;
        let mut module = |name: &str, inputs, kernel| {
            let name = format!("decode_head.{name}");
            ConvModule::load(loader, &name, (inputs, channels), kernel)
        };
        let mut poolings = Vec::new();
        for (i, &bins) in config.pool_scales.iter().enumerate() {
            let name = format!("psp_modules.{i}.1");
            poolings.push((bins, module(&name, width, Kernel::One)?));
        }
        let pooled = width + channels * poolings.len();
        let bottleneck = module("bottleneck", pooled, Kernel::Three)?;
        let (mut laterals, mut outputs) = (Vec::new(), Vec::new());
        for i in 0..FINER {
            laterals.push(module(&format!("lateral_convs.{i}"), width, Kernel::One)?);
            outputs.push(module(&format!("fpn_convs.{i}"), channels, Kernel::Three)?);
        }
        let joined = module("fpn_bottleneck", channels * (FINER + 1), Kernel::Three)?;
        let last = "decode_head.conv_seg";
        Ok(Self {
            poolings,
            bottleneck,
            laterals,
            outputs,
            joined,
            conv_seg: Linear::from_kernel(loader, last, (channels, 1), classes, true)?,
            dropout: config.dropout,
        })
    }

    /// The coarsest level and its means over ever finer bins, joined.
    ///
    /// x: `[B, h, w, D]` -> `[B, h, w, C]`
    pub fn pooled(&self, engine: &E, x: &E::Tensor, statistics: Statistics) -> Result<E::Tensor> {
        let size = size(engine, x)?;
        let mut parts = vec![x.clone()];
        for (bins, module) in &self.poolings {
            let means = adaptive_average_pool(engine, x, *bins)?;
            let means = module.forward(engine, &means, statistics)?;
            parts.push(engine.resize_bilinear(&means, size)?);
        }
        let parts = engine.cat(&parts.iter().collect::<Vec<_>>(), 3)?;
        self.bottleneck.forward(engine, &parts, statistics)
    }

    /// pyramid: four of `[B, h, w, D]`, the finest first -> logits `[B, h, w, K]` of its size
    pub fn forward(
        &self,
        engine: &E,
        pyramid: &[E::Tensor],
        pass: &mut Pass<'_>,
    ) -> Result<E::Tensor> {
        let [finest, _, _, coarsest] = pyramid else {
            return Err(EngineError {
                op: "UperNet",
                message: format!("a pyramid of {} levels", pyramid.len()),
            });
        };
        let statistics = pass.statistics();
        let finest = size(engine, finest)?;
        let mut above = self.pooled(engine, coarsest, statistics)?;
        let mut parts = vec![engine.resize_bilinear(&above, finest)?];
        let modules = self.laterals.iter().zip(&self.outputs);
        for (level, (lateral, output)) in pyramid.iter().zip(modules).rev() {
            let own = lateral.forward(engine, level, statistics)?;
            let above_here = engine.resize_bilinear(&above, size(engine, level)?)?;
            above = engine.add(&own, &above_here)?;
            let out = output.forward(engine, &above, statistics)?;
            parts.push(match size(engine, &out)? == finest {
                true => out,
                false => engine.resize_bilinear(&out, finest)?,
            });
        }
        let parts: Vec<_> = parts.iter().rev().collect();
        let x = engine.cat(&parts, 3)?;
        let x = self.joined.forward(engine, &x, statistics)?;
        let x = pass.drop_channels(engine, &x, self.dropout)?;
        self.conv_seg.forward(engine, &x)
    }

    /// Handles to the running statistics.
    pub(super) fn buffers(&self) -> Vec<(String, E::Tensor)> {
        let poolings = self.poolings.iter().map(|(_, module)| module);
        let modules = poolings.chain(&self.laterals).chain(&self.outputs);
        let modules = modules.chain([&self.bottleneck, &self.joined]);
        modules.flat_map(ConvModule::buffers).collect()
    }
}

/// Rows and columns of images `[B, H, W, C]`.
fn size<E: Engine>(engine: &E, x: &E::Tensor) -> Result<[usize; 2]> {
    match engine.shape(x)[..] {
        [_, height, width, _] => Ok([height, width]),
        ref shape => Err(EngineError {
            op: "UperNet",
            message: format!("images must be [B, H, W, C], got {shape:?}"),
        }),
    }
}
