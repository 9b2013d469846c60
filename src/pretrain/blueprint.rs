//! A method between networks that are known: what is built, read and trained.

use std::collections::BTreeMap;

use super::blank::{
    Begin, Blank, encoder_blanks, frame_blanks, initial_weights, sin_cos_positions,
};
use super::method::{Method, MethodError, PositionKind};
use super::term::{Reads, Sides, TermSpec, head_blanks, head_widths};
use super::{
    AttentionLayers, AttentionSource, Encoding, MaskSpec, Queries, Wanted, WantedAttention,
};
use crate::nn::Weights;
use crate::vit::VitConfig;

/// Everything about a run's networks but their weights.
#[derive(Clone, Debug)]
pub struct Blueprint {
    method: Method,
    student: VitConfig,
    teachers: BTreeMap<String, VitConfig>,
    heads: BTreeMap<String, usize>,
    terms: Vec<PlannedTerm>,
    wanted: BTreeMap<String, Wanted>,
    blocks: Vec<usize>,
    normed: bool,
    hides: bool,
}

/// A term that counts.
#[derive(Clone, Debug)]
pub struct PlannedTerm {
    /// Its name.
    pub name: String,
    /// As the recipe has it.
    pub spec: TermSpec,
    /// What it reads.
    pub reads: Reads,
}

impl Blueprint {
    /// A method whose teachers have these architectures, at the inputs that they will see.
    ///
    /// # Errors
    /// [`Method::check`]'s, and whatever does not fit between the networks.
    pub fn new(
        method: &Method,
        teachers: BTreeMap<String, VitConfig>,
    ) -> Result<Self, MethodError> {
        method.check()?;
        let student = method.student.config()?;
        let hides = method.hides()?;
        for (name, teacher) in &teachers {
            if teacher.grid != student.grid {
                return Err(MethodError::Grid {
                    teacher: name.clone(),
                    grid: teacher.grid,
                    input_size: teacher.input_size(),
                    patch_size: teacher.patch_size,
                    student: student.grid,
                });
            }
            if teacher.channels != student.channels {
                return Err(MethodError::Channels {
                    teacher: name.clone(),
                    channels: teacher.channels,
                    student: student.channels,
                });
            }
        }
        let sides = Sides {
            student: &student,
            hides,
            unseen: method.student.encoding == Encoding::Sparse && hides,
            teachers: &teachers,
        };
        let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
        let mut terms = Vec::new();
        for (name, spec) in method.counting_terms() {
            let reads = spec.reads(name, sides)?;
            if let Some((teacher, blocks)) = &reads.teacher {
                let of_teacher = wanted.entry(teacher.clone()).or_default();
                of_teacher.blocks.extend(blocks);
                of_teacher.normed |= reads.teacher_normed;
            }
            terms.push(PlannedTerm {
                name: name.to_owned(),
                spec: spec.clone(),
                reads,
            });
        }
        if let Some(teacher) = method.mask_teacher() {
            let config = sides.teacher("the mask", teacher)?;
            if queries(&method.mask) == Some(Queries::Class) && !config.class_token {
                return Err(MethodError::NoClassToken {
                    term: "the mask".to_owned(),
                    whose: "teacher",
                });
            }
            wanted.entry(teacher.to_owned()).or_default().attention =
                wanted_attention(&method.mask);
        }
        for wanted in wanted.values_mut() {
            wanted.blocks.sort_unstable();
            wanted.blocks.dedup();
        }
        let mut blocks: Vec<_> = (terms.iter())
            .flat_map(|term| term.reads.blocks.iter().copied())
            .collect();
        blocks.sort_unstable();
        blocks.dedup();
        Ok(Self {
            heads: head_widths(method.counting_terms(), sides)?,
            normed: terms.iter().any(|term| term.reads.normed),
            method: method.clone(),
            student,
            teachers,
            terms,
            wanted,
            blocks,
            hides,
        })
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The student's architecture.
    pub fn student(&self) -> &VitConfig {
        &self.student
    }

    /// The teachers' architectures.
    pub fn teachers(&self) -> &BTreeMap<String, VitConfig> {
        &self.teachers
    }

    /// The terms that count, by their names.
    pub fn terms(&self) -> &[PlannedTerm] {
        &self.terms
    }

    /// Names of heads that terms share, and what they lead to.
    pub fn heads(&self) -> &BTreeMap<String, usize> {
        &self.heads
    }

    /// What is wanted of each teacher.
    pub fn wanted(&self) -> &BTreeMap<String, Wanted> {
        &self.wanted
    }

    /// Blocks of the student that terms read, and whether they read its normalised tokens.
    pub fn reads(&self) -> (&[usize], bool) {
        (&self.blocks, self.normed)
    }

    /// Whether a learned token stands in the places of hidden patches.
    pub fn has_mask_token(&self) -> bool {
        self.method.student.encoding == Encoding::Dense && self.hides
    }

    /// The networks that terms are between.
    pub fn sides(&self) -> Sides<'_> {
        Sides {
            student: &self.student,
            hides: self.hides,
            unseen: self.method.student.encoding == Encoding::Sparse && self.hides,
            teachers: &self.teachers,
        }
    }

    /// Attention of the student itself, or of the average of its weights, that masks are drawn by.
    pub fn own_attention(&self) -> Option<(OwnAttention, WantedAttention)> {
        let whose = match self.method.mask.attention()? {
            AttentionSource::Student { .. } => OwnAttention::Student,
            AttentionSource::Ema { .. } => OwnAttention::Average,
            AttentionSource::Teacher { .. } => return None,
        };
        Some((whose, wanted_attention(&self.method.mask)?))
    }

    /// Whether a tensor stays as it begins: fixed positions, and a norm that nothing reads.
    pub fn is_fixed(&self, name: &str) -> bool {
        match name {
            "pos_embed" => self.method.student.positions == PositionKind::SinCos,
            "decoder.pos_embed" => true,
            "norm.weight" | "norm.bias" => !self.normed,
            _ => false,
        }
    }

    /// All tensors before training, a function of the seed.
    ///
    /// # Errors
    /// None that [`Blueprint::new`] has not found.
    pub fn initial_weights(&self, seed: u64) -> Result<Weights, MethodError> {
        let initial = self.method.student.initial;
        Ok(initial_weights(self.blanks()?, initial, seed))
    }

    /// Names of all tensors before training, and how many numbers each has.
    ///
    /// # Errors
    /// As [`Blueprint::initial_weights`]'s.
    pub fn elements(&self) -> Result<BTreeMap<String, usize>, MethodError> {
        let blanks = self.blanks()?.into_iter();
        let counted = |blank: Blank| (blank.name, blank.shape.iter().product());
        Ok(blanks.map(counted).collect())
    }

    fn blanks(&self) -> Result<Vec<Blank>, MethodError> {
        let sides = self.sides();
        let (config, spec) = (&self.student, &self.method.student);
        let mut blanks = frame_blanks(config);
        let prefix = config.prefix();
        match spec.positions {
            PositionKind::SinCos => {
                let positions = sin_cos_positions(config.width, config.grid, prefix);
                blanks.push(Blank::exactly("pos_embed", positions));
            }
            PositionKind::Learned => {
                let shape = [1, prefix + config.patches(), config.width];
                blanks.push(Blank::new("pos_embed".to_owned(), &shape, Begin::Token));
            }
            PositionKind::None => {}
        }
        if self.has_mask_token() {
            let name = "mask_token".to_owned();
            blanks.push(Blank::new(name, &[1, 1, config.width], Begin::Token));
        }
        blanks.extend(encoder_blanks("", config));
        if let Some(scale) = spec.layer_scale {
            for block in 0..config.depth {
                for branch in ["ls1", "ls2"] {
                    let name = format!("blocks.{block}.{branch}.gamma");
                    let begin = Begin::Constant(scale as f32);
                    blanks.push(Blank::new(name, &[config.width], begin));
                }
            }
        }
        blanks.extend(head_blanks(&self.heads, config.width));
        for term in &self.terms {
            blanks.extend(term.spec.blanks(&term.name, sides)?);
        }
        Ok(blanks)
    }
}

/// Whose attention masks are drawn by, where it is no teacher's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnAttention {
    /// The student's as it stands.
    Student,
    /// That of the moving average of its weights.
    Average,
}

/// Whose attention a mask is drawn by.
fn queries(mask: &MaskSpec) -> Option<Queries> {
    match mask {
        MaskSpec::Attentive { .. } => Some(Queries::Class),
        MaskSpec::Evolved(_) => Some(Queries::Patches),
        MaskSpec::None {}
        | MaskSpec::Random { .. }
        | MaskSpec::Block(_)
        | MaskSpec::Grid { .. } => None,
    }
}

fn wanted_attention(mask: &MaskSpec) -> Option<WantedAttention> {
    let layers = mask.attention()?.layers();
    Some(WantedAttention {
        queries: queries(mask)?,
        every_block: layers == AttentionLayers::All,
    })
}
