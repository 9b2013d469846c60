//! A pre-training method as data: who learns what from whom, and what is hidden.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::blank::Initialisation;
use super::{AttentionSource, Encoding, MaskError, MaskSpec, Positions, TermSpec};
use crate::vit::{Architecture, FinalNorm, Heads, RelativeBias, UnknownArchitecture, VitConfig};

/// Mask, student, teachers and the terms of the loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Method {
    /// Who learns.
    pub student: StudentSpec,
    /// What is hidden from it.
    pub mask: MaskSpec,
    /// Whom it learns from, by names that terms and masks refer to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub teachers: BTreeMap<String, TeacherSpec>,
    /// The terms of the loss, by names of their own.
    pub terms: BTreeMap<String, TermSpec>,
}

/// The network that learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentSpec {
    /// Its size.
    pub arch: StudentArchitecture,
    /// What becomes of hidden patches.
    pub encoding: Encoding,
    /// Its absolute positions.
    pub positions: PositionKind,
    /// Its tables of relative positions; none, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_bias: Option<RelativeBiasKind>,
    /// What the learned scales of its branches begin as; none, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_scale: Option<f64>,
    /// Whether keys have a bias as queries and values do.
    #[serde(default = "yes")]
    pub key_bias: bool,
    /// Where matrices and tokens begin.
    pub initial: Initialisation,
    /// How likely a branch of the last block is left out of an image; 0 at the first block, and in
    /// equal steps between.
    #[serde(default)]
    pub drop_path: f64,
}

fn yes() -> bool {
    true
}

/// The size of a student: a plain ViT with a class token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StudentArchitecture {
    /// timm's name.
    Named(String),
    /// Its numbers.
    Sized(StudentSize),
}

/// The numbers of a plain ViT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentSize {
    /// Token width.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
    /// Hidden width of the MLPs.
    pub mlp_width: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
    /// Side of the input, pixels.
    pub input_size: usize,
}

/// Absolute positions of a student.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionKind {
    /// Sines and cosines that are not trained ([`super::sin_cos_positions`]).
    SinCos,
    /// Learned ones.
    Learned,
    /// None: relative ones alone.
    None,
}

/// Tables of relative positions of a student.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelativeBiasKind {
    /// One for all blocks.
    Shared,
    /// One a block.
    PerBlock,
}

/// A network that a student learns from: any checkpoint whose patches can be those of the student.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherSpec {
    /// Which network the method was made with, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// Side of its input, pixels; its own, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_size: Option<usize>,
}

/// A method that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// A term or a mask names a teacher that there is none of.
    #[error("{term} learns from {teacher}, which is no teacher of the recipe")]
    NoTeacher {
        /// Who names it.
        term: String,
        /// As named.
        teacher: String,
    },
    /// Nobody learns from a teacher.
    #[error("no term and no mask looks at teacher {teacher}")]
    IdleTeacher {
        /// Its name.
        teacher: String,
    },
    /// A block is asked for that is not there.
    #[error("{term} asks for block {block} of {blocks}")]
    NoBlock {
        /// The term.
        term: String,
        /// As asked for.
        block: usize,
        /// Blocks there are.
        blocks: usize,
    },
    /// A class token is asked for that is not there.
    #[error("{term} compares class tokens, and the {whose} has none")]
    NoClassToken {
        /// The term.
        term: String,
        /// Student or teacher.
        whose: &'static str,
    },
    /// Terms share a head and lead to different widths.
    #[error("head {head} would lead to {} and to {} numbers", widths[0], widths[1])]
    HeadWidth {
        /// Its name.
        head: String,
        /// Widths of the teachers.
        widths: [usize; 2],
    },
    /// No such architecture.
    #[error("student.arch: {0}")]
    Architecture(#[from] UnknownArchitecture),
    /// Numbers of a student that make no ViT.
    #[error("student.{field} {reason}")]
    Student {
        /// The setting.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The patches of a teacher are not those of the student.
    #[error(
        "teacher {teacher} has {}x{} patches at {} x {} pixels, the student {}x{}",
        grid[0], grid[1], input_size[0], input_size[1], student[0], student[1]
    )]
    Grid {
        /// The teacher's name.
        teacher: String,
        /// Its patch grid.
        grid: [usize; 2],
        /// Its input, pixels.
        input_size: [usize; 2],
        /// Side of its patches, pixels.
        patch_size: usize,
        /// The student's patch grid.
        student: [usize; 2],
    },
    /// Images of a teacher have other channels.
    #[error("teacher {teacher} takes images of {channels} channels, the student of {student}")]
    Channels {
        /// The teacher's name.
        teacher: String,
        /// Its channels.
        channels: usize,
        /// The student's.
        student: usize,
    },
    /// The mask cannot be drawn.
    #[error("mask: {0}")]
    Mask(#[from] MaskError),
    /// The numbers of a term.
    #[error("terms.{term}: {reason}")]
    Term {
        /// Its name.
        term: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing is minimised.
    #[error("the loss has no terms: {reason}")]
    NoTerm {
        /// Why.
        reason: &'static str,
    },
}

impl MethodError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoTeacher { teacher, .. } => Some(format!(
                "[teachers.{teacher}] of the recipe declares it, and --teacher {teacher}=FILE gives it"
            )),
            Self::IdleTeacher { teacher } => Some(format!(
                "leave [teachers.{teacher}] out, or a term of weight 0 in"
            )),
            Self::NoBlock { .. } => Some("blocks count from 0, top from 1".to_owned()),
            Self::NoClassToken { .. } => {
                Some("without one, compare patches alone: class_token = false".to_owned())
            }
            Self::HeadWidth { .. } => Some("give each term a head of its own name".to_owned()),
            Self::Architecture(error) => error.hint(),
            Self::Student { field: "arch", .. } => Some(
                "student.arch has width, depth, heads, mlp_width, patch_size and input_size: --set student.arch.width=N changes one".to_owned(),
            ),
            Self::Student { field: "initial", .. } => {
                Some("--set student.initial.std=0.02 changes it".to_owned())
            }
            Self::Student { field, .. } => Some(format!("--set student.{field}=VALUE changes it")),
            Self::Grid {
                teacher,
                patch_size,
                student,
                ..
            } => Some(format!(
                "--set teachers.{teacher}.input_size={} gives it as many patches",
                student[0] * patch_size
            )),
            Self::Channels { .. } => Some("student and teacher see the same images".to_owned()),
            Self::Mask(error) => Some(error.hint().to_owned()),
            Self::Term { term, .. } => Some(format!("--set terms.{term}.KEY=VALUE changes it")),
            Self::NoTerm { .. } => {
                Some("[terms.NAME] with a kind and a weight above 0 is one".to_owned())
            }
        }
    }
}

impl StudentSpec {
    /// Its architecture.
    ///
    /// # Errors
    /// No such one, or no ViT has these numbers.
    pub fn config(&self) -> Result<VitConfig, MethodError> {
        let wrong = |field, reason: String| Err(MethodError::Student { field, reason });
        let mut config = match &self.arch {
            StudentArchitecture::Named(name) => Architecture::named(name)?.config(),
            StudentArchitecture::Sized(size) => size.config()?,
        };
        config.positions = match self.positions {
            PositionKind::SinCos | PositionKind::Learned => Some(config.prefix()),
            PositionKind::None => None,
        };
        if self.positions == PositionKind::SinCos && !config.width.is_multiple_of(4) {
            let reason = format!(
                "sin_cos needs a width that is a multiple of 4, it is {}",
                config.width
            );
            return wrong("positions", reason);
        }
        config.relative_bias = self.relative_bias.map(|kind| match kind {
            RelativeBiasKind::Shared => RelativeBias::Shared,
            RelativeBiasKind::PerBlock => RelativeBias::PerBlock,
        });
        if config.positions.is_none() && config.relative_bias.is_none() {
            let reason = "is none, and there is no relative_bias: no patch would have a place";
            return wrong("positions", reason.to_owned());
        }
        config.layer_scale = self.layer_scale.is_some();
        config.final_norm = FinalNorm::Tokens;
        if self.layer_scale.is_some_and(|scale| !scale.is_finite()) {
            return wrong("layer_scale", "is no number".to_owned());
        }
        if !(0.0..1.0).contains(&self.drop_path) {
            let reason = format!("must be from 0 up to 1, it is {}", self.drop_path);
            return wrong("drop_path", reason);
        }
        if let Initialisation::TruncatedNormal { std, .. } = self.initial
            && !(std > 0.0 && std <= 1.0)
        {
            let reason = format!("needs a std between 0 and 1, it is {std}");
            return wrong("initial", reason);
        }
        Ok(config)
    }
}

impl StudentSize {
    fn config(self) -> Result<VitConfig, MethodError> {
        let Self {
            width,
            depth,
            heads,
            mlp_width,
            patch_size,
            input_size,
        } = self;
        let wrong = |reason: String| MethodError::Student {
            field: "arch",
            reason,
        };
        for (name, count) in [
            ("width", width),
            ("depth", depth),
            ("heads", heads),
            ("mlp_width", mlp_width),
            ("patch_size", patch_size),
            ("input_size", input_size),
        ] {
            if count == 0 {
                return Err(wrong(format!("has a {name} of 0, which counts from 1")));
            }
        }
        if !width.is_multiple_of(heads) {
            return Err(wrong(format!(
                "has {heads} heads, which do not divide a width of {width}"
            )));
        }
        if !input_size.is_multiple_of(patch_size) {
            return Err(wrong(format!(
                "has patches of {patch_size} pixels, which do not divide an input of {input_size}"
            )));
        }
        let grid = [input_size / patch_size; 2];
        Ok(VitConfig {
            heads: Heads::same(heads, depth),
            mlp_width,
            ..VitConfig::plain(patch_size, grid, (width, depth, heads))
        })
    }
}

impl Method {
    /// The terms that count.
    pub fn counting_terms(&self) -> impl Iterator<Item = (&str, &TermSpec)> {
        let terms = self.terms.iter();
        let terms = terms.map(|(name, term)| (name.as_str(), term));
        terms.filter(|(_, term)| term.weight() != 0.0)
    }

    /// The teachers that a term or the mask looks at.
    pub fn counting_teachers(&self) -> impl Iterator<Item = (&str, &TeacherSpec)> {
        let looked_at = |name: &str| {
            self.counting_terms()
                .any(|(_, term)| term.teacher() == Some(name))
                || self.mask_teacher() == Some(name)
        };
        let teachers = self.teachers.iter();
        let teachers = teachers.map(|(name, spec)| (name.as_str(), spec));
        teachers.filter(move |(name, _)| looked_at(name))
    }

    /// Whether any patch is hidden.
    ///
    /// # Errors
    /// The student is none.
    pub fn hides(&self) -> Result<bool, MethodError> {
        let config = self.student.config()?;
        Ok(self.mask.kept(config.grid) != Some(config.patches()))
    }

    /// Whether it matters beyond rounding how an update is cut into images that go through the
    /// networks together: statistics over them, or means over unequal numbers of hidden patches.
    pub fn depends_on_parts(&self) -> bool {
        !self.mask.is_exact() || self.counting_terms().any(|(_, term)| term.is_joint())
    }

    /// The teacher whose attention masks are drawn by; the only one, where the mask names none.
    pub fn mask_teacher(&self) -> Option<&str> {
        let AttentionSource::Teacher { name, .. } = self.mask.attention()? else {
            return None;
        };
        let only = || match self.teachers.len() {
            1 => self.teachers.keys().next().map(String::as_str),
            _ => None,
        };
        name.as_deref().or_else(only).or(Some("teacher"))
    }

    /// Refuses what means nothing whatever the teachers are.
    ///
    /// # Errors
    /// The first of it.
    pub fn check(&self) -> Result<(), MethodError> {
        let config = self.student.config()?;
        self.mask.check(config.grid)?;
        for (name, term) in &self.terms {
            term.check().map_err(|reason| MethodError::Term {
                term: name.clone(),
                reason,
            })?;
        }
        if self.counting_terms().next().is_none() {
            let reason = match self.terms.is_empty() {
                true => "the recipe names none",
                false => "the weight of every one is 0",
            };
            return Err(MethodError::NoTerm { reason });
        }
        for (name, term) in self.counting_terms() {
            self.check_positions(name, term)?;
        }
        let named = |name: &String| {
            (self.terms.values()).any(|term| term.teacher() == Some(name))
                || self.mask_teacher() == Some(name)
        };
        if let Some(teacher) = self.teachers.keys().find(|name| !named(name)) {
            return Err(MethodError::IdleTeacher {
                teacher: teacher.clone(),
            });
        }
        let users = (self.counting_terms())
            .map(|(name, term)| (format!("terms.{name}"), term.teacher()))
            .chain([("the mask".to_owned(), self.mask_teacher())]);
        for (user, teacher) in users {
            if let Some(teacher) = teacher
                && !self.teachers.contains_key(teacher)
            {
                return Err(MethodError::NoTeacher {
                    term: user,
                    teacher: teacher.to_owned(),
                });
            }
        }
        if self.student.encoding == Encoding::Sparse && !self.mask.is_exact() {
            return Err(MethodError::Student {
                field: "encoding",
                reason: "sparse needs as many patches of every image, and the mask hides about as many: mask.exact = true".to_owned(),
            });
        }
        Ok(())
    }

    /// Refuses terms about patches of which there is nothing to compare.
    fn check_positions(&self, name: &str, term: &TermSpec) -> Result<(), MethodError> {
        let wrong = |reason: String| {
            Err(MethodError::Term {
                term: name.to_owned(),
                reason,
            })
        };
        let Some((on, decodes)) = term.positions() else {
            return Ok(());
        };
        let hides = self.hides()?;
        if on == Positions::Masked && !hides {
            return wrong("on = \"masked\", and the mask hides nothing".to_owned());
        }
        let dense = self.student.encoding == Encoding::Dense;
        if dense && !self.mask.is_exact() && term.reads_seen() {
            return wrong("its decoder reads the patches that are seen, and the mask hides about as many: mask.exact = true, or decoder.reads = \"all\"".to_owned());
        }
        let lacks = self.student.encoding == Encoding::Sparse && hides && !decodes;
        if lacks && on != Positions::Visible {
            return wrong(format!(
                "on = \"{}\", and a sparse encoder has no token of a hidden patch: \"visible\" is what it has",
                on.name()
            ));
        }
        Ok(())
    }
}
