//! What a step of a method costs: products of its networks, and what it keeps of an image.

use std::collections::BTreeMap;

use super::term::{Adaptor, AlignmentMatrix, DecoderInput, MatrixPlace, PixelDecoder, TermSpec};
use super::{Blueprint, Encoding, MaskSpec, Positions, Wanted};
use crate::engine::{EngineKind, Precision};
use crate::vit::VitConfig;

/// Multiplications, each with its addition, of one image: those of matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Products {
    /// Forward.
    pub forward: u64,
    /// Forward and what the gradients of what is trained take; see
    /// [`VitConfig::training_multiply_adds`].
    pub trained: u64,
}

impl Products {
    /// Of layers whose inputs need gradients too.
    fn of_layers(forward: u64) -> Self {
        let trained = 3 * forward;
        Self { forward, trained }
    }
}

/// Products of one image in a step, network by network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepProducts {
    /// The student's encoder over the patches that it sees.
    pub student: Products,
    /// The decoders of pixels.
    pub decoders: Products,
    /// Heads, adaptors and mixtures.
    pub heads: Products,
    /// The teachers over whole images, by name.
    pub teachers: BTreeMap<String, u64>,
    /// The student's own look at whole images, where masks are drawn by its attention.
    pub look: u64,
}

impl StepProducts {
    /// All of them.
    pub fn total(&self) -> u64 {
        let learned = [self.student, self.decoders, self.heads];
        let learned: u64 = learned.iter().map(|products| products.trained).sum();
        learned + self.teachers.values().sum::<u64>() + self.look
    }
}

/// Bytes of one image in a step, network by network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepActivations {
    /// What the student's gradient needs.
    pub student: u64,
    /// What the decoders' need.
    pub decoders: u64,
    /// What the other terms' need.
    pub heads: u64,
    /// What teachers have said, until the terms are computed.
    pub lessons: u64,
    /// The most that a network without gradients takes while it looks, before the student begins.
    pub looking: u64,
}

impl StepActivations {
    /// At the peak of a step.
    pub fn total(&self) -> u64 {
        self.lessons + self.looking.max(self.student + self.decoders + self.heads)
    }
}

impl Blueprint {
    /// Patches that the student sees of an image; of masks that hide a few more in some images than
    /// in others, of one that hides no more than it has to.
    fn seen(&self) -> usize {
        let (grid, patches) = (self.student().grid, self.student().patches());
        match &self.method().mask {
            MaskSpec::Block(block) => patches - block.target(grid),
            mask => mask.kept(grid).unwrap_or(patches),
        }
    }

    /// Patches that go through the student.
    fn encoded(&self) -> usize {
        match self.method().student.encoding {
            Encoding::Sparse => self.seen(),
            Encoding::Dense => self.student().patches(),
        }
    }

    fn rows(&self, on: Positions) -> usize {
        match on {
            Positions::Visible => self.seen(),
            Positions::Masked => self.student().patches() - self.seen(),
            Positions::All => self.student().patches(),
        }
    }

    /// Products of one image in a step.
    pub fn multiply_adds(&self) -> StepProducts {
        let (student, encoded) = (self.student(), self.encoded());
        let mut decoders = Products::default();
        let mut heads = 0;
        for term in self.terms() {
            let teacher = term
                .spec
                .teacher()
                .and_then(|name| self.teachers().get(name));
            let to = teacher.map_or(0, |teacher| teacher.width);
            match &term.spec {
                TermSpec::PatchDistillation(spec) => {
                    heads += self.rows(spec.on) * student.width * to
                }
                TermSpec::ClassDistillation(_) => heads += student.width * to,
                TermSpec::PixelReconstruction(spec) => {
                    let own = Products::of_layers(self.decoder(spec.decoder));
                    decoders.forward += own.forward;
                    decoders.trained += own.trained;
                }
                TermSpec::Alignment(spec) => {
                    let rows = self.rows(spec.on) + usize::from(spec.class_token);
                    let through = match spec.adaptor {
                        Adaptor::Linear => student.width * to,
                        Adaptor::Mlp => student.width * (student.width + to),
                    };
                    let (adaptors, mixed) = match (spec.matrix, spec.place) {
                        (AlignmentMatrix::LayerWise {}, _) => (spec.top, 0),
                        (_, MatrixPlace::BeforeAdaptor) => (spec.top, student.width),
                        (_, MatrixPlace::AfterAdaptor) => (student.depth, to),
                    };
                    heads += rows * (adaptors * through + spec.top * student.depth * mixed);
                }
            }
        }
        let teachers = self.wanted().iter().filter_map(|(name, wanted)| {
            let config = self.teachers().get(name)?;
            let blocks = config.block_multiply_adds(wanted.depth(config), config.patches());
            let products = config.patch_multiply_adds(config.patches()) + blocks;
            Some((name.clone(), products))
        });
        StepProducts {
            student: Products {
                forward: student.multiply_adds_of(encoded),
                trained: student.training_multiply_adds_of(encoded),
            },
            decoders,
            heads: Products::of_layers(heads as u64),
            teachers: teachers.collect(),
            look: match self.own_attention() {
                Some(_) => student.multiply_adds(),
                None => 0,
            },
        }
    }

    fn decoder(&self, decoder: PixelDecoder) -> u64 {
        let student = self.student();
        let pixels = student.channels * student.patch_size * student.patch_size;
        match (decoder.blocks(student), decoder) {
            (Some(blocks), PixelDecoder::Transformer { reads, .. }) => {
                let read = match reads {
                    DecoderInput::Visible => self.seen(),
                    DecoderInput::All => self.encoded(),
                };
                let embed = (student.prefix() + read) * student.width * blocks.width;
                let last = student.patches() * blocks.width * pixels;
                let patches = student.patches();
                (embed + last) as u64 + blocks.block_multiply_adds(blocks.depth, patches)
            }
            _ => (self.encoded() * student.width * pixels) as u64,
        }
    }

    /// Bytes of one image in a step.
    pub fn activation_bytes(&self, engine: EngineKind, precision: Precision) -> StepActivations {
        // Prediction, target and their difference.
        const SIDES: usize = 3;
        let number = match precision {
            Precision::F64 => 8,
            _ => 4,
        };
        let student = self.student();
        let (mut decoders, mut heads) = (0, 0);
        for term in self.terms() {
            let teacher = term
                .spec
                .teacher()
                .and_then(|name| self.teachers().get(name));
            let to = teacher.map_or(0, |teacher| teacher.width);
            match &term.spec {
                TermSpec::PatchDistillation(spec) => heads += SIDES * self.rows(spec.on) * to,
                TermSpec::ClassDistillation(_) => heads += SIDES * to,
                TermSpec::Alignment(spec) => {
                    let rows = self.rows(spec.on) + usize::from(spec.class_token);
                    heads += rows * (SIDES * spec.top * to + student.depth * student.width);
                }
                TermSpec::PixelReconstruction(spec) => {
                    let pixels = student.channels * student.patch_size * student.patch_size;
                    decoders += (number * SIDES * student.patches() * pixels) as u64;
                    if let Some(blocks) = spec.decoder.blocks(student) {
                        decoders += blocks.activation_bytes(engine, precision);
                    }
                }
            }
        }
        let of_teachers = self.wanted().iter();
        let of_teachers = of_teachers.filter_map(|(name, wanted)| {
            let config = self.teachers().get(name)?;
            Some((config, wanted))
        });
        let (mut lessons, mut looking) = (0, 0);
        for (config, wanted) in of_teachers {
            let outputs = wanted.blocks.len() + usize::from(wanted.normed);
            lessons += number * outputs * config.tokens() * config.width;
            looking = looking.max(passing(config, wanted.attention.is_some()));
        }
        if self.own_attention().is_some() {
            looking = looking.max(passing(student, true));
        }
        StepActivations {
            student: student.activation_bytes_of(engine, precision, self.encoded()),
            decoders,
            heads: (number * heads) as u64,
            lessons: lessons as u64,
            looking: (number * looking) as u64,
        }
    }
}

impl Wanted {
    /// Blocks that a network goes through for it.
    pub(super) fn depth(&self, config: &VitConfig) -> usize {
        match self.normed || self.attention.is_some() {
            true => config.depth,
            false => self.blocks.iter().max().map_or(0, |block| block + 1),
        }
    }
}

/// Numbers of the widest place of a block without gradients: its input and the norm's output beside
/// the MLP's hidden layer, or beside queries, keys, values and attention maps where those are asked
/// for.
fn passing(config: &VitConfig, maps: bool) -> usize {
    let (tokens, width) = (config.tokens(), config.width);
    // Scores and their softmax.
    let maps = match maps {
        true => 2 * config.heads.of(0) * tokens * tokens,
        false => 0,
    };
    let attention = 4 * tokens * width + maps;
    2 * tokens * width + attention.max(tokens * config.mlp_width)
}
