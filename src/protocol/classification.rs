//! Classifiers in training: their heads, and what validations say of them.

use serde::{Deserialize, Serialize};

use crate::report::{ImageOutcomes, Measured, Selection};
use crate::stats::{IntervalError, Measure, Unit};

/// Version of what is made of a network's logits: part of the key of cells that train nothing.
pub const EVALUATION_VERSION: u32 = 1;

/// One head over a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// What it is called: its input, and its learning rate where there are several.
    pub name: String,
    /// Place of what it reads, where heads read several things.
    pub input: usize,
    /// The block that its input ends with.
    pub layer: Option<usize>,
    /// Its peak learning rate, where heads have several.
    pub learning_rate: Option<f64>,
}

/// How one head did over a validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadResult {
    /// Images whose class it ranks first.
    pub top1: u64,
    /// Images whose class is among its first five.
    pub top5: u64,
    /// Mean cross entropy, nats.
    pub loss: f64,
}

/// A validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// The epoch before it, counted from 0.
    pub epoch: usize,
    /// Images of it.
    pub images: u64,
    /// Every head, in order.
    pub heads: Vec<HeadResult>,
}

/// What one head said of every validation image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadOutcomes {
    /// The class that it ranks first.
    pub top1: Vec<u32>,
    /// Whether the class is among its first five.
    pub top5: Vec<bool>,
}

/// What training gave.
#[derive(Debug)]
pub struct TrainedOutcome {
    /// Accuracies and losses of every head after the last epoch, and the largest accuracy of all.
    pub measures: Vec<Measured>,
    /// What happened to every image under every head, after the last epoch.
    pub outcomes: Vec<ImageOutcomes>,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// What the headline was chosen by.
    pub selection: Selection,
}

/// The heads' results after the last of these validations; the best of several heads is the
/// headline, and said to be selected.
///
/// # Errors
/// A validation without images.
pub fn evaluate(
    heads: &[Head],
    validations: &[Validation],
    last: Vec<HeadOutcomes>,
) -> Result<TrainedOutcome, IntervalError> {
    let mut measures = Vec::new();
    let selection = match heads.len() {
        1 => Selection::None,
        _ => Selection::BestHead,
    };
    let mut notes = Vec::new();
    if let Some(end) = validations.last() {
        let best = first_best(end.heads.iter().map(|head| head.top1));
        for (at, (head, result)) in heads.iter().zip(&end.heads).enumerate() {
            let headline = at == best;
            let measured = |measure| Measured {
                feature: head.name.clone(),
                layer: head.layer,
                learning_rate: head.learning_rate,
                headline,
                selection: if headline { selection } else { Selection::None },
                ..Measured::of(measure)
            };
            for (name, hits) in [("top1", result.top1), ("top5", result.top5)] {
                measures.push(measured(Measure::from_hits(name, hits, end.images)?));
            }
            measures.push(measured(Measure {
                name: "loss".to_owned(),
                value: result.loss,
                unit: Unit::Nats,
                n: end.images,
                interval: None,
                confidence: 0.95,
            }));
        }
        if heads.len() > 1 {
            notes.push(format!(
                "the best of {} heads on the validation images: {}",
                heads.len(),
                heads[best].name
            ));
        }
    }
    if let Some((measured, note)) = largest(heads, validations)? {
        measures.push(measured);
        notes.push(note);
    }
    let outcomes = heads.iter().zip(last);
    let outcomes = outcomes.map(|(head, outcomes)| ImageOutcomes {
        name: head.name.clone(),
        top1: outcomes.top1,
        top5: outcomes.top5,
    });
    Ok(TrainedOutcome {
        measures,
        outcomes: outcomes.collect(),
        notes,
        selection,
    })
}

/// The best of all heads and epochs, which several of the reference scripts print, where there is
/// a choice.
fn largest(
    heads: &[Head],
    validations: &[Validation],
) -> Result<Option<(Measured, String)>, IntervalError> {
    let of = validations.iter().flat_map(|validation| {
        let heads = validation.heads.iter().enumerate();
        heads.map(move |(at, head)| (head.top1, validation, at))
    });
    let all: Vec<_> = of.collect();
    let Some(&(hits, validation, at)) = all.get(first_best(all.iter().map(|&(hits, _, _)| hits)))
    else {
        return Ok(None);
    };
    let selection = match (heads.len(), validations.len()) {
        (_, 0 | 1) => return Ok(None),
        (1, _) => Selection::BestEpoch,
        _ => Selection::BestHeadAndEpoch,
    };
    let name = &heads[at].name;
    let measured = Measured {
        feature: name.clone(),
        layer: heads[at].layer,
        learning_rate: heads[at].learning_rate,
        selection,
        ..Measured::of(Measure::from_hits("top1_max", hits, validation.images)?)
    };
    let epoch = validation.epoch + 1;
    let note = match heads.len() {
        1 => format!(
            "largest top-1 of {} validations: after epoch {epoch}",
            validations.len()
        ),
        several => format!(
            "largest top-1 of {several} heads and {} validations: {name} after epoch {epoch}",
            validations.len()
        ),
    };
    Ok(Some((measured, note)))
}

/// Place of the largest number, the first of equal ones.
fn first_best(numbers: impl Iterator<Item = u64>) -> usize {
    let best = numbers
        .enumerate()
        .reduce(|best, other| if other.1 > best.1 { other } else { best });
    best.map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoders::ProbeInput;
    use crate::features::Token;
    use crate::protocol::linear::heads;

    fn input(block: usize) -> ProbeInput {
        ProbeInput {
            blocks: vec![block],
            token: Token::Concat,
            norm: false,
        }
    }

    fn validation(epoch: usize, top1: &[u64]) -> Validation {
        let head = |&top1: &u64| HeadResult {
            top1,
            top5: top1 + 1,
            loss: 0.5,
        };
        Validation {
            epoch,
            images: 10,
            heads: top1.iter().map(head).collect(),
        }
    }

    #[test]
    fn the_best_head_of_the_last_epoch_is_selected_and_the_best_of_all_epochs_said() {
        let heads = heads(&[input(0), input(1)], &[0.1]);
        let validations = [validation(0, &[3, 8]), validation(1, &[7, 5])];
        let last = vec![HeadOutcomes::default(); 2];
        let found = evaluate(&heads, &validations, last).unwrap();
        assert_eq!(found.selection, Selection::BestHead);
        let headline: Vec<_> = found.measures.iter().filter(|m| m.headline).collect();
        assert_eq!(headline[0].feature, "block 0 concat raw");
        assert_eq!(headline[0].measure.value, 70.0);
        assert_eq!(headline[0].selection, Selection::BestHead);
        let all = found.measures.last().unwrap();
        assert_eq!(
            (all.measure.name.as_str(), all.measure.value),
            ("top1_max", 80.0)
        );
        assert_eq!(all.selection, Selection::BestHeadAndEpoch);
        assert_eq!(all.feature, "block 1 concat raw");
        assert!(found.notes[1].ends_with("block 1 concat raw after epoch 1"));
    }

    #[test]
    fn one_head_after_one_validation_is_not_selected() {
        let heads = heads(&[input(3)], &[0.1]);
        let last = vec![HeadOutcomes::default()];
        let found = evaluate(&heads, &[validation(4, &[6])], last).unwrap();
        assert_eq!(found.selection, Selection::None);
        assert!(
            found
                .measures
                .iter()
                .all(|m| m.selection == Selection::None)
        );
        assert_eq!(found.notes, Vec::<String>::new());
    }
}
