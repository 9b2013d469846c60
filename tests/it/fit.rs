//! The one loop over a thing that no engine computes: what it calls, in which order, and that a run
//! that was stopped anywhere makes the same updates.

use std::path::Path;
use std::time::Duration;

use mimbench::store::{Elements, NamedTensor, Tensors};
use mimbench::train::{
    EpochLength, GroupSummary, Monitor, Pick, Recipe, Saved, Schedule, Share, Solo, Source,
    StateFolder, Take, Terms, TrainError, Trainable, Update, fit,
};

/// Samples to train on, and to validate on.
const SAMPLES: usize = 7;
const HELD_OUT: usize = 5;

/// One weight, and the sum of what its update gathered.
#[derive(Default)]
struct Scale {
    weight: f64,
    gathered: Option<f64>,
    /// Calls of `accumulate` and `update` before the one that gives no number.
    finite: Option<usize>,
    finite_updates: Option<usize>,
}

/// Whether a count that runs down has come to its end.
fn ends(left: &mut Option<usize>) -> bool {
    let end = *left == Some(0);
    *left = left.and_then(|left| left.checked_sub(1));
    end
}

fn scalar(name: &str, value: f64) -> NamedTensor<'static> {
    NamedTensor {
        name: name.to_owned(),
        shape: vec![1],
        elements: Elements::F64(vec![value].into()),
    }
}

fn value(tensors: &Tensors, name: &str) -> Option<f64> {
    match &tensors.get(name)?.elements {
        Elements::F64(value) => Some(value[0]),
        _ => None,
    }
}

impl Trainable for Scale {
    type Batch = Vec<Pick>;
    type Scores = f64;

    fn groups(&self) -> Vec<GroupSummary> {
        Vec::new()
    }

    fn accumulate(&mut self, batch: &Vec<Pick>, share: Share) -> Result<Terms, TrainError> {
        assert_eq!(share.first, self.gathered.is_none());
        if ends(&mut self.finite) {
            let terms = [("square", 1.0), ("cube", f64::NAN)];
            return Ok(terms.map(|(name, value)| (name.to_owned(), value)).into());
        }
        let x = |pick: &Pick| (pick.index + 1) as f64 / (pick.pass + 3) as f64;
        let mean = batch.iter().map(x).sum::<f64>() / share.samples;
        self.gathered = Some(self.gathered.unwrap_or(0.0) + mean * (1.0 + self.weight));
        let terms = [("square", mean * mean), ("cube", mean * self.weight)];
        Ok(terms.map(|(name, value)| (name.to_owned(), value)).into())
    }

    fn update(&mut self, learning_rate: f64, weight_decay: f64) -> Result<f64, TrainError> {
        let gathered = self.gathered.take().unwrap();
        if ends(&mut self.finite_updates) {
            return Ok(f64::INFINITY);
        }
        self.weight -= learning_rate * (gathered + weight_decay * self.weight);
        Ok(gathered.abs())
    }

    fn discard(&mut self) -> Result<(), TrainError> {
        self.gathered = None;
        Ok(())
    }

    fn validate(&mut self, _: &Vec<Pick>) -> Result<f64, TrainError> {
        Ok(self.weight)
    }

    fn save(&self) -> Result<Vec<NamedTensor<'static>>, TrainError> {
        let gathered = self.gathered.map(|sum| scalar("gathered", sum));
        let weight = scalar("weight", self.weight);
        Ok([weight].into_iter().chain(gathered).collect())
    }

    fn load(&mut self, tensors: &Tensors) -> Result<(), TrainError> {
        self.weight = value(tensors, "weight").unwrap();
        self.gathered = value(tensors, "gathered");
        Ok(())
    }
}

/// Samples that are their own batches.
struct Places {
    validated_at_once: usize,
}

impl Source for Places {
    type Batch = Vec<Pick>;

    fn samples(&self) -> usize {
        SAMPLES
    }

    fn train(
        &mut self,
        batches: &[Vec<Pick>],
        take: &mut Take<'_, Vec<Pick>>,
    ) -> Result<(), TrainError> {
        batches.iter().try_for_each(|batch| take(batch.clone()))
    }

    fn validate(&mut self, first: usize, take: &mut Take<'_, Vec<Pick>>) -> Result<(), TrainError> {
        let left: Vec<_> = (first..HELD_OUT)
            .map(|index| Pick { index, pass: 0 })
            .collect();
        let mut batches = left.chunks(self.validated_at_once);
        batches.try_for_each(|batch| take(batch.to_vec()))
    }
}

/// Writes everything down, and has the run stopped.
#[derive(Default)]
struct Witness {
    said: Vec<String>,
    notices: Vec<String>,
    /// Batches before the one after which the run is to be saved and stopped.
    batches: Option<usize>,
    /// Batches before the one at which the process dies.
    killed: Option<usize>,
}

/// What a kill looks like from inside.
fn killed() -> TrainError {
    TrainError::Recipe {
        message: "killed".to_owned(),
        hint: "",
    }
}

impl Monitor<Scale> for Witness {
    fn sees(&mut self, batch: &Vec<Pick>) -> Result<(), TrainError> {
        let picks = batch.iter().map(|pick| (pick.index, pick.pass));
        self.said
            .push(format!("sees {:?}", picks.collect::<Vec<_>>()));
        if ends(&mut self.killed) {
            return Err(killed());
        }
        Ok(())
    }

    fn progress(&mut self, epoch: usize, samples: usize, of: usize) {
        self.said.push(format!("{epoch}: {samples} of {of}"));
    }

    fn updated(&mut self, update: &Update) -> Result<(), TrainError> {
        self.said.push(format!("{update:?}"));
        Ok(())
    }

    fn validated(
        &mut self,
        epoch: usize,
        batch: &Vec<Pick>,
        weight: f64,
    ) -> Result<usize, TrainError> {
        if ends(&mut self.killed) {
            return Err(killed());
        }
        for pick in batch {
            let index = pick.index;
            self.said
                .push(format!("{epoch}: validated {index} with {weight:?}"));
        }
        Ok(batch.len())
    }

    fn epoch_ended(&mut self, epoch: usize, validated: bool) -> Result<(), TrainError> {
        self.said.push(format!("{epoch} ended, {validated}"));
        Ok(())
    }

    fn save(&mut self) -> Result<(serde_json::Value, Vec<NamedTensor<'static>>), TrainError> {
        Ok((serde_json::json!(self.said), vec![scalar("own", 1.0)]))
    }

    fn resume(&mut self, saved: &Saved) -> Result<(), TrainError> {
        assert_eq!(value(&saved.tensors, "own"), Some(1.0));
        self.said = serde_json::from_value(saved.monitor.clone()).unwrap();
        Ok(())
    }

    fn notice(&mut self, message: &str) {
        self.notices.push(message.to_owned());
    }

    fn cancelled(&self) -> bool {
        self.batches == Some(self.said.iter().filter(|said| of_a_batch(said)).count())
    }
}

/// Whether this is said once a batch: of training, or of validation one sample at a time.
fn of_a_batch(said: &str) -> bool {
    said.starts_with("sees") || said.contains("validated")
}

fn recipe(epoch: EpochLength, validate_every: Option<usize>) -> Recipe {
    Recipe {
        epochs: 3,
        epoch,
        batch: 4,
        local_batch: 2,
        learning_rate: 0.1,
        schedule: Schedule::EpochCosine { end: 0.01 },
        weight_decay: 0.05,
        validate_every,
        seed: 3,
        batch_norm: false,
    }
}

/// Every way in which epochs are cut and validated.
fn recipes() -> Vec<Recipe> {
    let lengths = [
        EpochLength::Samples,
        EpochLength::WholeBatches,
        EpochLength::Updates(3),
    ];
    let validations = [Some(1), Some(2), None];
    let every = |length| validations.map(|every| recipe(length, every));
    lengths.into_iter().flat_map(every).collect()
}

/// A process that trains, one sample at a time in validations -> how it ended, its weight.
fn process(
    folder: &Path,
    recipe: &Recipe,
    scale: &mut Scale,
    witness: &mut Witness,
    every: Duration,
) -> Result<(), TrainError> {
    let identity = vec![("run".to_owned(), "this".to_owned())];
    let mut states = StateFolder::new(folder, identity, every);
    let mut source = Places {
        validated_at_once: 1,
    };
    fit(scale, &mut source, recipe, &mut states, &Solo, witness)
}

const ALWAYS: Duration = Duration::ZERO;
const NEVER: Duration = Duration::MAX;

/// What an uninterrupted run says, and its weight.
fn whole(recipe: &Recipe) -> (Vec<String>, f64) {
    let folder = tempfile::tempdir().unwrap();
    let (mut scale, mut witness) = Default::default();
    process(folder.path(), recipe, &mut scale, &mut witness, NEVER).unwrap();
    (witness.said, scale.weight)
}

/// The rest of a run in a new process.
#[track_caller]
fn goes_on(folder: &Path, recipe: &Recipe, expected: &(Vec<String>, f64), what: &str) {
    let (mut scale, mut witness) = Default::default();
    process(folder, recipe, &mut scale, &mut witness, NEVER).unwrap();
    assert_eq!(witness.said, expected.0, "{what}");
    assert_eq!(scale.weight.to_bits(), expected.1.to_bits(), "{what}");
    assert!(witness.notices.is_empty(), "{:?}", witness.notices);
}

#[test]
fn an_epoch_is_its_updates_then_its_validation() {
    let (said, _) = whole(&recipe(EpochLength::Samples, Some(2)));
    let short = |said: &String| {
        let word = said.split([' ', '(']).next().unwrap().to_owned();
        if said.contains("validated") {
            return "validated".to_owned();
        }
        if said.contains("ended") {
            return said.clone();
        }
        if said.contains(" of ") {
            return said.clone();
        }
        word
    };
    let said: Vec<_> = said.iter().map(short).collect();
    let epoch = |epoch: usize, validated: bool| {
        let mut lines = vec!["sees".to_owned(), format!("{epoch}: 2 of 7")];
        lines.extend(["sees", "Update"].map(str::to_owned));
        lines.extend([format!("{epoch}: 4 of 7"), "sees".to_owned()]);
        lines.push(format!("{epoch}: 6 of 7"));
        lines.extend(["sees", "Update"].map(str::to_owned));
        // Where no validation follows, the epoch ends with its last update.
        let last = format!("{epoch}: 7 of 7");
        let ended = format!("{epoch} ended, {validated}");
        if validated {
            lines.push(last);
            lines.extend(vec!["validated".to_owned(); HELD_OUT]);
            lines.push(ended);
        } else {
            lines.extend([ended, last]);
        }
        lines
    };
    let expected = [epoch(0, false), epoch(1, true), epoch(2, true)].concat();
    assert_eq!(said, expected);
}

#[test]
fn a_run_that_is_stopped_anywhere_makes_the_same_updates() {
    for recipe in recipes() {
        let expected = whole(&recipe);
        let batches = expected.0.iter().filter(|said| of_a_batch(said)).count();
        for stop in 1..=batches {
            let what = format!("{recipe:?} stopped after {stop} batches");
            let folder = tempfile::tempdir().unwrap();
            let mut witness = Witness {
                batches: Some(stop),
                ..Witness::default()
            };
            let ended = process(
                folder.path(),
                &recipe,
                &mut Scale::default(),
                &mut witness,
                NEVER,
            );
            let Err(TrainError::Interrupted {
                updates_done,
                updates,
                ..
            }) = ended
            else {
                panic!("{what}: {ended:?}");
            };
            let said = witness.said.iter();
            let done = said.filter(|said| said.starts_with("Update")).count();
            assert_eq!((updates_done, updates), (done, count(&expected)), "{what}");
            goes_on(folder.path(), &recipe, &expected, &what);
        }
        // Once more after every batch.
        let folder = tempfile::tempdir().unwrap();
        for stop in 1..=batches {
            let mut witness = Witness {
                batches: Some(stop),
                ..Witness::default()
            };
            let mut scale = Scale::default();
            process(folder.path(), &recipe, &mut scale, &mut witness, NEVER).unwrap_err();
        }
        goes_on(folder.path(), &recipe, &expected, "one batch at a time");
    }
}

/// Updates of a run.
fn count((said, _): &(Vec<String>, f64)) -> usize {
    said.iter()
        .filter(|said| said.starts_with("Update"))
        .count()
}

#[test]
fn a_run_that_is_killed_anywhere_makes_the_same_updates() {
    // Every length of an epoch, and every validation; a state is written at every batch.
    for recipe in recipes().into_iter().step_by(4) {
        let expected = whole(&recipe);
        let batches = expected.0.iter().filter(|said| of_a_batch(said)).count();
        for every in [ALWAYS, NEVER] {
            for kill in 0..batches {
                let what = format!("{recipe:?} killed at batch {kill}, saved {every:?}");
                let folder = tempfile::tempdir().unwrap();
                let mut witness = Witness {
                    killed: Some(kill),
                    ..Witness::default()
                };
                let mut scale = Scale::default();
                process(folder.path(), &recipe, &mut scale, &mut witness, every).unwrap_err();
                goes_on(folder.path(), &recipe, &expected, &what);
            }
        }
    }
}

#[test]
fn a_finished_run_is_found_finished() {
    let recipe = recipe(EpochLength::Samples, Some(1));
    let folder = tempfile::tempdir().unwrap();
    let (mut scale, mut witness) = Default::default();
    process(folder.path(), &recipe, &mut scale, &mut witness, NEVER).unwrap();
    let files = || {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    assert_eq!(before, ["state-00000000.safetensors"]);
    goes_on(
        folder.path(),
        &recipe,
        &(witness.said, scale.weight),
        "again",
    );
    assert_eq!(files(), before);
}

#[test]
fn a_validation_goes_on_with_batches_of_another_size() {
    let recipe = recipe(EpochLength::Samples, Some(1));
    let expected = whole(&recipe);
    for (first, second) in [(1, 3), (3, 1), (2, 4), (3, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let identity = vec![("run".to_owned(), "this".to_owned())];
        let mut states = StateFolder::new(folder.path(), identity, ALWAYS);
        let (mut scale, mut witness) = <(Scale, Witness)>::default();
        // Past the training of the first epoch, and a batch of its validation.
        witness.killed = Some(4 + 1);
        let mut source = Places {
            validated_at_once: first,
        };
        fit(
            &mut scale,
            &mut source,
            &recipe,
            &mut states,
            &Solo,
            &mut witness,
        )
        .unwrap_err();
        source.validated_at_once = second;
        let (mut scale, mut witness) = <(Scale, Witness)>::default();
        fit(
            &mut scale,
            &mut source,
            &recipe,
            &mut states,
            &Solo,
            &mut witness,
        )
        .unwrap();
        assert_eq!(witness.said, expected.0, "{first}, then {second}");
        assert_eq!(scale.weight.to_bits(), expected.1.to_bits());
    }
}

#[test]
fn what_is_no_number_ends_the_run_before_its_update() {
    let recipe = recipe(EpochLength::Samples, Some(1));
    let expected = whole(&recipe);
    let updates = |said: &[String]| {
        let lines = said.iter().filter(|said| said.starts_with("Update"));
        lines.cloned().collect::<Vec<_>>()
    };
    // Local batches of the run: 4 an epoch, 2 an update.
    for lost in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let (mut scale, mut witness) = <(Scale, Witness)>::default();
        scale.finite = Some(lost);
        let error = process(folder.path(), &recipe, &mut scale, &mut witness, NEVER).unwrap_err();
        let TrainError::NotFinite {
            update,
            epoch,
            ref terms,
            saved: Some(_),
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((epoch, update), (lost / 4, lost % 4 / 2));
        assert_eq!((terms.len(), terms[0].0.as_str()), (1, "cube"));
        assert!(error.to_string().contains("cube is NaN"), "{error}");
        assert_eq!(updates(&witness.said).len(), lost / 2);
        let (mut scale, mut witness) = <(Scale, Witness)>::default();
        process(folder.path(), &recipe, &mut scale, &mut witness, NEVER).unwrap();
        assert_eq!(updates(&witness.said), updates(&expected.0));
        assert_eq!(scale.weight.to_bits(), expected.1.to_bits());
    }
    for lost in 0..6 {
        let folder = tempfile::tempdir().unwrap();
        let (mut scale, mut witness) = <(Scale, Witness)>::default();
        scale.finite_updates = Some(lost);
        let error = process(folder.path(), &recipe, &mut scale, &mut witness, NEVER).unwrap_err();
        let TrainError::GradientNotFinite {
            update,
            epoch,
            saved: Some(_),
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!((epoch, update), (lost / 2, lost % 2));
        let (mut scale, mut witness) = <(Scale, Witness)>::default();
        process(folder.path(), &recipe, &mut scale, &mut witness, NEVER).unwrap();
        assert_eq!(updates(&witness.said), updates(&expected.0));
        assert_eq!(scale.weight.to_bits(), expected.1.to_bits());
    }
}
