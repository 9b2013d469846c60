//! MaskAlign's dynamic alignment: mixtures of a student's blocks against a teacher's last ones.

use serde::{Deserialize, Serialize};

use super::{Reads, Sides, check_class_tokens, mean_of, not_negative, positive};
use crate::engine::{Activation, Engine, HostTensor, Result};
use crate::nn::{Linear, Loader, WeightError};
use crate::pretrain::blank::{Begin, Blank};
use crate::pretrain::method::MethodError;
use crate::pretrain::scene::{Positions, Scene, class_token, missing};
use crate::pretrain::target::TargetNorm;

/// The smooth L1 distance of mixtures of the outputs of all the student's blocks from the outputs of
/// a teacher's last blocks: the mean over those, and of each over tokens and their numbers
/// (MaskAlign, eqs. 1-3; OpenDriveLab/maskalign `models_pretrain.py`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlignmentSpec {
    /// What it counts for.
    pub weight: f64,
    /// The teacher's name.
    pub teacher: String,
    /// How many of the teacher's blocks, the last ones.
    pub top: usize,
    /// What leads from the student's space to the teacher's.
    pub adaptor: Adaptor,
    /// How the student's blocks are mixed.
    pub matrix: AlignmentMatrix,
    /// Which comes first.
    pub place: MatrixPlace,
    /// What is done to the teacher's tokens.
    pub normalise: TargetNorm,
    /// Whether class tokens are compared too.
    pub class_token: bool,
    /// Which patches.
    pub on: Positions,
    /// Where the parabola ends and the lines begin.
    pub beta: f64,
    /// What the distance is multiplied by: 2 in the code, 1 in the paper's eq. 3.
    pub factor: f64,
}

/// What leads from the student's space to the teacher's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adaptor {
    /// A linear layer.
    Linear,
    /// Two, with a GELU between them, hidden as wide as the student (MaskAlign, section 4).
    Mlp,
}

/// How the student's blocks are mixed for each of the teacher's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AlignmentMatrix {
    /// Learned, begun with the identity plus `offset` everywhere; block for block, counted from the
    /// last (the code's "linear", 0.01).
    Identity {
        /// Added to every entry.
        offset: f64,
    },
    /// Learned, begun with equal shares (the code's "sum").
    Equal {},
    /// None: each block of the student is compared with the teacher's of the same place from the
    /// end ("layer-wise").
    LayerWise {},
}

/// Whether the student's blocks are mixed before or after the adaptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatrixPlace {
    /// Mixtures first, then an adaptor for each of the teacher's blocks: the code.
    BeforeAdaptor,
    /// An adaptor for each of the student's blocks first: the paper's eq. 1.
    AfterAdaptor,
}

/// How the blocks of the two sides meet.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Blocks of the student.
    student: usize,
    /// Compared blocks of the teacher.
    top: usize,
}

impl AlignmentSpec {
    pub(super) fn reads(
        &self,
        name: &str,
        sides: Sides<'_>,
    ) -> std::result::Result<Reads, MethodError> {
        let teacher = sides.teacher(name, &self.teacher)?;
        let layer_wise = matches!(self.matrix, AlignmentMatrix::LayerWise {});
        let most = match layer_wise {
            true => teacher.depth.min(sides.student.depth),
            false => teacher.depth,
        };
        if self.top > most {
            return Err(MethodError::NoBlock {
                term: name.to_owned(),
                block: self.top,
                blocks: most,
            });
        }
        if self.class_token {
            check_class_tokens(name, sides.student, teacher)?;
        }
        let first = match layer_wise {
            true => sides.student.depth - self.top,
            false => 0,
        };
        Ok(Reads {
            blocks: (first..sides.student.depth).collect(),
            teacher: Some((
                self.teacher.clone(),
                (teacher.depth - self.top..teacher.depth).collect(),
            )),
            normed: false,
            teacher_normed: false,
        })
    }

    pub(super) fn check(&self) -> std::result::Result<(), String> {
        not_negative("weight", self.weight)?;
        not_negative("beta", self.beta)?;
        positive("factor", self.factor)?;
        match self.top {
            0 => Err("top counts from 1".to_owned()),
            _ => Ok(()),
        }
    }

    fn adaptors(&self, shape: Shape) -> usize {
        match (self.matrix, self.place) {
            (AlignmentMatrix::LayerWise {}, _) | (_, MatrixPlace::BeforeAdaptor) => shape.top,
            (_, MatrixPlace::AfterAdaptor) => shape.student,
        }
    }

    /// `terms.NAME.matrix` `[K, S]` and `terms.NAME.adaptors.N`.
    pub(super) fn blanks(
        &self,
        name: &str,
        sides: Sides<'_>,
    ) -> std::result::Result<Vec<Blank>, MethodError> {
        let teacher = sides.teacher(name, &self.teacher)?.width;
        let (width, student) = (sides.student.width, sides.student.depth);
        let shape = Shape {
            student,
            top: self.top,
        };
        let mut blanks = Vec::new();
        let matrix = |entry: &dyn Fn(usize, usize) -> f64| {
            let entries =
                (0..self.top).flat_map(|row| (0..student).map(move |column| (row, column)));
            let data = entries.map(|(row, column)| entry(row, column) as f32);
            Blank::exactly(
                &format!("terms.{name}.matrix"),
                HostTensor {
                    shape: vec![self.top, student],
                    data: data.collect(),
                },
            )
        };
        match self.matrix {
            AlignmentMatrix::Identity { offset } => blanks.push(matrix(&|row, column| {
                let same = student - column == self.top - row;
                offset + f64::from(u8::from(same))
            })),
            AlignmentMatrix::Equal {} => blanks.push(matrix(&|_, _| 1.0 / student as f64)),
            AlignmentMatrix::LayerWise {} => {}
        }
        for adaptor in 0..self.adaptors(shape) {
            let layers: &[(&str, usize, usize)] = match self.adaptor {
                Adaptor::Linear => &[("", teacher, width)],
                Adaptor::Mlp => &[(".fc1", width, width), (".fc2", teacher, width)],
            };
            for (layer, outputs, inputs) in layers {
                let layer = format!("terms.{name}.adaptors.{adaptor}{layer}");
                blanks.push(Blank::new(
                    format!("{layer}.weight"),
                    &[*outputs, *inputs],
                    Begin::Matrix,
                ));
                let bias = format!("{layer}.bias");
                blanks.push(Blank::new(bias, &[*outputs], Begin::Constant(0.0)));
            }
        }
        Ok(blanks)
    }
}

/// Matrix and adaptors.
#[derive(Clone, Debug)]
pub struct Alignment<E: Engine> {
    spec: AlignmentSpec,
    /// Blocks of the student that are read.
    student: Vec<usize>,
    /// Blocks of the teacher that are compared.
    teacher: Vec<usize>,
    /// `[K, S]`
    matrix: Option<E::Tensor>,
    adaptors: Vec<AdaptorLayer<E>>,
}

#[derive(Clone, Debug)]
enum AdaptorLayer<E: Engine> {
    Linear(Linear<E>),
    Mlp(TwoLayers<E>),
}

/// An MLP whose output has another width than its input.
#[derive(Clone, Debug)]
struct TwoLayers<E: Engine> {
    fc1: Linear<E>,
    fc2: Linear<E>,
}

impl<E: Engine> AdaptorLayer<E> {
    fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        match self {
            Self::Linear(layer) => layer.forward(engine, x),
            Self::Mlp(TwoLayers { fc1, fc2 }) => {
                let hidden = engine.activation(&fc1.forward(engine, x)?, Activation::Gelu)?;
                fc2.forward(engine, &hidden)
            }
        }
    }
}

impl<E: Engine> Alignment<E> {
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        (name, spec): (&str, &AlignmentSpec),
        reads: &Reads,
        sides: Sides<'_>,
    ) -> std::result::Result<Self, WeightError> {
        let teacher_width = (sides.teachers.get(&spec.teacher)).map_or(0, |config| config.width);
        let (width, student) = (sides.student.width, sides.student.depth);
        let shape = Shape {
            student,
            top: spec.top,
        };
        let matrix = match spec.matrix {
            AlignmentMatrix::LayerWise {} => None,
            _ => Some(loader.take(&format!("terms.{name}.matrix"), &[spec.top, student])?),
        };
        let adaptor = |i: usize| {
            let layer = format!("terms.{name}.adaptors.{i}");
            Ok(match spec.adaptor {
                Adaptor::Linear => {
                    AdaptorLayer::Linear(Linear::load(loader, &layer, width, teacher_width)?)
                }
                Adaptor::Mlp => AdaptorLayer::Mlp(TwoLayers {
                    fc1: Linear::load(loader, &format!("{layer}.fc1"), width, width)?,
                    fc2: Linear::load(loader, &format!("{layer}.fc2"), width, teacher_width)?,
                }),
            })
        };
        let adaptors = (0..spec.adaptors(shape)).map(adaptor);
        Ok(Self {
            adaptors: adaptors.collect::<std::result::Result<_, WeightError>>()?,
            spec: spec.clone(),
            student: reads.blocks.clone(),
            teacher: (reads.teacher.iter())
                .flat_map(|(_, blocks)| blocks)
                .copied()
                .collect(),
            matrix,
        })
    }

    pub(super) fn loss(&self, engine: &E, scene: &Scene<'_, E>) -> Result<E::Tensor> {
        let spec = &self.spec;
        let student = |block: &usize| {
            let tokens = scene.student.blocks.get(block);
            let tokens = tokens.ok_or_else(|| missing("a block of the student was not kept"))?;
            let patches = scene.student_rows(engine, tokens, spec.on)?;
            match spec.class_token {
                true => engine.cat(&[&class_token(engine, tokens)?, &patches], 0),
                false => Ok(patches),
            }
        };
        let blocks: Vec<_> = self.student.iter().map(student).collect::<Result<_>>()?;
        let predicted = match (&self.matrix, spec.place) {
            (None, _) => self.adapted(engine, &blocks)?,
            (Some(matrix), MatrixPlace::BeforeAdaptor) => {
                self.adapted(engine, &mixed(engine, matrix, &blocks)?)?
            }
            (Some(matrix), MatrixPlace::AfterAdaptor) => {
                mixed(engine, matrix, &self.adapted(engine, &blocks)?)?
            }
        };
        let lesson = scene.lesson(&spec.teacher)?;
        let mut sum: Option<E::Tensor> = None;
        for (predicted, block) in predicted.iter().zip(&self.teacher) {
            let what = (spec.normalise, spec.class_token, Some(spec.on));
            let target = scene.target(engine, (lesson, lesson.block(*block)?), what)?;
            let difference = engine.sub(predicted, &target)?;
            let own = mean_of(engine, &engine.smooth_l1(&difference, spec.beta)?)?;
            sum = Some(match sum {
                Some(sum) => engine.add(&sum, &own)?,
                None => own,
            });
        }
        let sum = sum.ok_or_else(|| missing("an alignment of no block"))?;
        engine.affine(&sum, spec.factor / spec.top as f64, 0.0)
    }

    fn adapted(&self, engine: &E, blocks: &[E::Tensor]) -> Result<Vec<E::Tensor>> {
        let adapted = self.adaptors.iter().zip(blocks);
        let adapted = adapted.map(|(adaptor, block)| adaptor.forward(engine, block));
        adapted.collect()
    }
}

/// Sums over the blocks by each row of the matrix: S of `[rows, D]` -> K of `[rows, D]`
fn mixed<E: Engine>(
    engine: &E,
    matrix: &E::Tensor,
    blocks: &[E::Tensor],
) -> Result<Vec<E::Tensor>> {
    let shape = blocks.first().map(|block| engine.shape(block));
    let [rows, width] = shape.unwrap_or_default()[..] else {
        return Err(missing("an alignment of no block"));
    };
    let flat = |block: &E::Tensor| engine.reshape(block, &[1, rows * width]);
    let flat: Vec<_> = blocks.iter().map(flat).collect::<Result<_>>()?;
    let all = engine.cat(&flat.iter().collect::<Vec<_>>(), 0)?;
    let mixed = engine.matmul(matrix, &all)?;
    let top = engine.shape(matrix)[0];
    let one = |row| engine.reshape(&engine.narrow(&mixed, 0, row, 1)?, &[rows, width]);
    (0..top).map(one).collect()
}
