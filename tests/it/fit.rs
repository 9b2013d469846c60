//! The one loop over a thing that no engine computes: what it calls, in which order, and that a run
//! that was stopped anywhere makes the same updates.

use std::path::Path;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use mimbench::data::Pick;
use mimbench::store::{Elements, NamedTensor, Tensors};
use mimbench::train::{
    EpochLength, GroupSummary, LearningRate, Monitor, Progress, Recipe, Saved, Schedule, Share,
    Solo, Source, StateFolder, Take, TrainError, Trainable, Update, World, fit,
};

/// Samples to train on, and to validate on.
const SAMPLES: usize = 7;
const HELD_OUT: usize = 5;

/// One weight, and the sum of what its update gathered.
#[derive(Default)]
struct Scale {
    weight: f64,
    gathered: Option<f64>,
    /// Weight decay of every update.
    decays: Vec<f64>,
    /// Calls of `accumulate` and `update` before the one that gives no number.
    finite: Option<usize>,
    finite_updates: Option<usize>,
    groups: Vec<GroupSummary>,
    /// With whom it trains, where it is not alone.
    world: Option<Meeting>,
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
        self.groups.clone()
    }

    fn terms(&self) -> Vec<String> {
        ["square", "cube"].map(str::to_owned).into()
    }

    fn accumulate(&mut self, batch: &Vec<Pick>, share: Share) -> Result<Vec<f64>, TrainError> {
        assert_eq!(share.first, self.gathered.is_none());
        if ends(&mut self.finite) {
            return Ok(vec![1.0, f64::NAN]);
        }
        let x = |pick: &Pick| (pick.index + 1) as f64 / (pick.pass + 3) as f64;
        let mean = batch.iter().map(x).sum::<f64>() / share.samples;
        self.gathered = Some(self.gathered.unwrap_or(0.0) + mean * (1.0 + self.weight));
        Ok(vec![mean * mean, mean * self.weight])
    }

    fn update(&mut self, rate: LearningRate, weight_decay: f64) -> Result<f64, TrainError> {
        let learning_rate = rate.of(1.0, 1.0);
        let gathered = match &self.world {
            None => self.gathered.take().unwrap(),
            Some(world) => world.sum(&[self.gathered.take().unwrap_or(0.0)])[0],
        };
        if ends(&mut self.finite_updates) {
            return Ok(f64::INFINITY);
        }
        self.decays.push(weight_decay);
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

/// Several threads as processes; a list that is not as long as the others' is an error.
#[derive(Clone)]
struct Meeting {
    rank: usize,
    lists: Arc<Mutex<Vec<Vec<f64>>>>,
    barrier: Arc<Barrier>,
}

impl Meeting {
    fn of(size: usize) -> Vec<Self> {
        let lists = Arc::new(Mutex::new(vec![Vec::new(); size]));
        let barrier = Arc::new(Barrier::new(size));
        let own = |rank| Self {
            rank,
            lists: Arc::clone(&lists),
            barrier: Arc::clone(&barrier),
        };
        (0..size).map(own).collect()
    }
}

impl World for Meeting {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.lists.lock().unwrap().len()
    }

    fn sum(&self, counts: &[f64]) -> Vec<f64> {
        self.lists.lock().unwrap()[self.rank] = counts.to_vec();
        self.barrier.wait();
        let lists = self.lists.lock().unwrap().clone();
        // Nobody's next list comes before everybody has read this one.
        self.barrier.wait();
        assert!(lists.iter().all(|list| list.len() == counts.len()));
        let sum = |i: usize| lists.iter().map(|list| list[i]).sum();
        (0..counts.len()).map(sum).collect()
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
            .map(|index| Pick {
                index,
                pass: 0,
                group: 0,
            })
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
    /// Updates that were given up.
    discarded: usize,
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

    fn epoch_ended(&mut self, epoch: usize, validated: bool, _: &Scale) -> Result<(), TrainError> {
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

    fn discarded(&mut self) {
        self.discarded += 1;
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
        mixed: 2,
        repeats: 1,
        learning_rate: 0.1,
        schedule: Schedule::EpochCosine { end: 0.01 },
        weight_decay: 0.05,
        weight_decay_schedule: Schedule::Constant {},
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
fn the_weight_decay_moves_along_its_own_schedule() {
    let recipe = Recipe {
        weight_decay: 0.04,
        weight_decay_schedule: Schedule::IterationCosine { end: 0.4 },
        ..recipe(EpochLength::Samples, None)
    };
    let folder = tempfile::tempdir().unwrap();
    let (mut scale, mut witness) = Default::default();
    process(folder.path(), &recipe, &mut scale, &mut witness, NEVER).unwrap();
    assert_eq!(scale.decays.len(), 6);
    for update in [0, 2, 5] {
        let half_turn = std::f64::consts::PI * update as f64 / 6.0;
        let expected = 0.4 - 0.36 * (1.0 + half_turn.cos()) / 2.0;
        let found = scale.decays[update];
        assert!((found - expected).abs() < 1e-15, "{update}: {found}");
    }
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

/// Names of the states.
fn states(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_has_not_advanced_is_not_saved_again() {
    let recipe = recipe(EpochLength::Samples, Some(1));
    let folder = tempfile::tempdir().unwrap();
    let mut after = Vec::new();
    // The same update is lost each time, counted from where the state is.
    for lost in [6, 0, 0, 0] {
        let (mut scale, mut witness) = <(Scale, Witness)>::default();
        scale.finite = Some(lost);
        let error = process(folder.path(), &recipe, &mut scale, &mut witness, NEVER).unwrap_err();
        let TrainError::NotFinite {
            saved: Some(saved), ..
        } = error
        else {
            panic!("{error}");
        };
        assert!(saved.exists());
        assert_eq!(witness.discarded, 1);
        after.push((states(folder.path()), saved));
    }
    assert_eq!(after[0].0, ["state-00000000.safetensors"]);
    assert!(after.iter().all(|found| *found == after[0]), "{after:?}");
}

#[test]
fn the_last_state_that_is_whole_outlives_damaged_ones() {
    let folder = tempfile::tempdir().unwrap();
    let open = || StateFolder::new(folder.path(), Vec::new(), NEVER);
    let at = |epoch| Saved {
        progress: Progress::epoch(epoch),
        terms: Vec::new(),
        monitor: serde_json::Value::Null,
        tensors: Tensors::new(),
    };
    let file = |number: u64| format!("state-{number:08}.safetensors");
    let mut first = open();
    for epoch in 0..3 {
        first.save(&at(epoch)).unwrap();
    }
    assert_eq!(states(folder.path()), [file(1), file(2)]);
    std::fs::write(folder.path().join(file(2)), "damaged").unwrap();
    // Files that only look like ours.
    let theirs = ["state-1.safetensors", "state-of-the-art.tmp"];
    for name in theirs {
        std::fs::write(folder.path().join(name), "theirs").unwrap();
    }
    let mut second = open();
    let mut said = 0;
    let found = second.load(&mut |_| said += 1).unwrap().unwrap();
    assert_eq!((found.progress, said), (Progress::epoch(1), 1));
    second.save(&at(2)).unwrap();
    let whole = [&file(1), &file(3), theirs[0], theirs[1]];
    assert_eq!(states(folder.path()), whole);
    std::fs::write(folder.path().join(file(3)), "damaged").unwrap();
    let found = open().load(&mut |_| ()).unwrap().unwrap();
    assert_eq!(found.progress, Progress::epoch(1));
    open().clear().unwrap();
    assert_eq!(states(folder.path()), theirs);
}

/// How every process of a world of this size ends: its error or weight, and the updates it saw.
fn together(
    size: usize,
    recipe: &Recipe,
    lost: Option<usize>,
) -> Vec<(Result<f64, String>, Vec<String>)> {
    let one = |world: Meeting| {
        let mut scale = Scale {
            world: Some(world.clone()),
            finite: lost.filter(|_| world.rank == 1),
            ..Scale::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let mut states = StateFolder::new(folder.path(), Vec::new(), NEVER);
        let mut source = Places {
            validated_at_once: 1,
        };
        let mut witness = Witness::default();
        let ended = fit(
            &mut scale,
            &mut source,
            recipe,
            &mut states,
            &world,
            &mut witness,
        );
        let ended = ended.map_err(|error| error.to_string());
        let updates = witness.said.into_iter();
        let updates = updates.filter(|said| said.starts_with("Update"));
        (ended.map(|()| scale.weight), updates.collect())
    };
    std::thread::scope(|scope| {
        let processes = Meeting::of(size).into_iter();
        let processes: Vec<_> = processes
            .map(|world| scope.spawn(move || one(world)))
            .collect();
        let ends = processes.into_iter().map(|process| process.join().unwrap());
        ends.collect()
    })
}

#[test]
fn several_processes_compute_what_one_would() {
    // With 7 samples in batches of 6 the second update is the first process's alone, and of
    // 4 processes one never has a sample.
    for (size, batch) in [(2, 4), (2, 6), (3, 4), (4, 6)] {
        let recipe = Recipe {
            batch,
            ..recipe(EpochLength::Samples, Some(1))
        };
        let (said, weight) = whole(&recipe);
        let ends = together(size, &recipe, None);
        for (end, updates) in &ends {
            let found = end.as_ref().unwrap();
            assert!((found - weight).abs() < 1e-12, "{found} for {weight}");
            assert_eq!(updates, &ends[0].1);
        }
        let updates = said.iter().filter(|said| said.starts_with("Update"));
        assert_eq!(ends[0].1.len(), updates.count());
    }
}

#[test]
fn what_one_process_loses_ends_them_all() {
    let recipe = recipe(EpochLength::Samples, Some(1));
    for (end, updates) in together(3, &recipe, Some(1)) {
        let error = end.unwrap_err();
        assert!(error.contains("cube is NaN"), "{error}");
        assert!(error.contains("update 1"), "{error}");
        assert_eq!(updates.len(), 1);
    }
}

#[test]
fn every_group_has_its_own_peak() {
    let position = |epoch| mimbench::train::Position {
        iteration: epoch,
        iterations_per_epoch: 1,
        epochs: 4,
    };
    let schedule = Schedule::BeitCosine {
        warmup_epochs: 0,
        warmup_steps: Some(2),
        start: 0.25,
        end: 0.125,
    };
    for epoch in 0..4 {
        let run = LearningRate::new(schedule, 1.0, position(epoch));
        for peak in [0.5, 4.0] {
            // What a run at this rate alone would learn at; a layer's scale is of that.
            let alone = LearningRate::new(schedule, peak, position(epoch)).of(1.0, 1.0);
            assert_eq!(run.of(peak, 1.0), alone);
            assert_eq!(run.of(peak, 0.5), alone * 0.5);
        }
        if epoch == 0 {
            assert_eq!(run.of(4.0, 1.0), 0.25);
        }
    }
    let group = |peak_scale| GroupSummary {
        name: String::new(),
        tensors: 1,
        elements: 1,
        peak_scale,
        learning_rate_scale: 1.0,
        weight_decay_scale: 1.0,
    };
    let mut scale = Scale {
        groups: [1.0, 3.0, 2.0].map(group).into(),
        ..Scale::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let mut witness = Witness::default();
    let recipe = recipe(EpochLength::Samples, None);
    process(folder.path(), &recipe, &mut scale, &mut witness, NEVER).unwrap();
    let mut said = witness.said.iter();
    let first = said.find(|said| said.starts_with("Update")).unwrap();
    let largest = recipe.schedule.at(0.1 * 3.0, position(0));
    assert!(
        first.contains(&format!("learning_rate: {largest:?}")),
        "{first}"
    );
}
