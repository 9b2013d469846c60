//! Linear maps from a student's tokens to a teacher's, which terms may share.

use std::collections::BTreeMap;

use super::{Sides, TermSpec};
use crate::engine::{Engine, EngineError, Result};
use crate::nn::{Linear, Loader, WeightError};
use crate::pretrain::blank::{Begin, Blank};
use crate::pretrain::method::MethodError;

/// Linear maps by their names.
#[derive(Clone, Debug)]
pub struct Heads<E: Engine>(BTreeMap<String, Linear<E>>);

/// Names of the heads that terms ask for, and the widths of what they lead to.
pub(in crate::pretrain) fn head_widths<'a>(
    terms: impl Iterator<Item = (&'a str, &'a TermSpec)>,
    sides: Sides<'_>,
) -> std::result::Result<BTreeMap<String, usize>, MethodError> {
    let mut widths: BTreeMap<String, usize> = BTreeMap::new();
    for (name, term) in terms {
        let (Some(head), Some(teacher)) = (term.head(), term.teacher()) else {
            continue;
        };
        let width = sides.teacher(name, teacher)?.width;
        let known = *widths.entry(head.to_owned()).or_insert(width);
        if known != width {
            return Err(MethodError::HeadWidth {
                head: head.to_owned(),
                widths: [known, width],
            });
        }
    }
    Ok(widths)
}

/// Their tensors before training.
pub(in crate::pretrain) fn head_blanks(
    widths: &BTreeMap<String, usize>,
    student_width: usize,
) -> Vec<Blank> {
    let blanks = |(name, &width): (&String, &usize)| {
        [
            Blank::new(
                format!("heads.{name}.weight"),
                &[width, student_width],
                Begin::Matrix,
            ),
            Blank::new(format!("heads.{name}.bias"), &[width], Begin::Constant(0.0)),
        ]
    };
    widths.iter().flat_map(blanks).collect()
}

impl<E: Engine> Heads<E> {
    /// From `heads.NAME`, each `[D_t, D_s]` with a bias.
    pub(in crate::pretrain) fn load(
        loader: &mut Loader<'_, E>,
        widths: &BTreeMap<String, usize>,
        student_width: usize,
    ) -> std::result::Result<Self, WeightError> {
        let mut heads = BTreeMap::new();
        for (name, &width) in widths {
            let head = Linear::load(loader, &format!("heads.{name}"), student_width, width)?;
            heads.insert(name.clone(), head);
        }
        Ok(Self(heads))
    }

    /// x: `[.., D_s]` -> `[.., D_t]`
    pub(super) fn forward(&self, engine: &E, name: &str, x: &E::Tensor) -> Result<E::Tensor> {
        let head = self.0.get(name).ok_or_else(|| EngineError {
            op: "head",
            message: format!("there is no head {name}"),
        })?;
        head.forward(engine, x)
    }
}
