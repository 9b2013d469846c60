//! The scenes as a dataset on disk.

use std::{
    fs::{self, File, TryLockError},
    io::{self, BufWriter, Read},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    MAX_PER_CLASS, SCENES_VERSION, Scene, SceneError, SceneSpec, Shape, Split, class_names, draw,
};

/// The file that says what a directory holds. It is written last.
const MARKER: &str = "scenes.toml";
/// More than any marker's bytes: what is longer is no marker of ours.
const MARKER_LIMIT: u64 = 4096;

/// Red, green, blue of each mask value, background first.
const MASK_PALETTE: [u8; 3 * (Shape::ALL.len() + 1)] = [
    0, 0, 0, 230, 159, 0, 86, 180, 233, 0, 158, 115, 240, 228, 66, 204, 121, 167,
];

/// Writes a dataset of class folders, `train/disc-checks/0000.png` and so on, with index masks of
/// the same names under `masks/` and the names of the mask values, one a line from 0 on, in
/// `masks/classes.txt`. Images are RGB, masks 8-bit palette PNGs ([`Scene::mask`]).
///
/// A directory that already holds exactly this set is left as it is. Otherwise everything is written
/// to `<dir>.partial` and renamed at the end, so that a process killed at any moment leaves nothing
/// half-made in `dir` (a power failure is another matter: nothing is synced). The bytes do not depend
/// on `workers`, the number of threads. `progress` is told (images done, images in all) from any of
/// the threads.
///
/// # Errors
/// Arguments out of range, a `dir` that holds something else or that another process is writing, and
/// whatever the file system refuses.
pub fn write_dataset(
    dir: &Path,
    spec: &SceneSpec,
    train_per_class: usize,
    val_per_class: usize,
    workers: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), SceneError> {
    spec.checked_size()?;
    for count in [train_per_class, val_per_class] {
        if count > MAX_PER_CLASS {
            return Err(SceneError::Count { count });
        }
    }
    if workers == 0 {
        return Err(SceneError::NoWorkers);
    }
    let marker = marker(spec, train_per_class, val_per_class);
    if holds(dir, &marker)? {
        return Ok(());
    }
    let partial = beside(dir, ".partial")?;
    let lock_path = beside(dir, ".lock")?;
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    let lock = File::create(&lock_path).map_err(at(&lock_path))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => SceneError::Busy {
            dir: dir.to_path_buf(),
        },
        TryLockError::Error(source) => SceneError::Io {
            path: lock_path.clone(),
            source,
        },
    })?;
    // Another process may have finished between the first look and the lock.
    if !holds(dir, &marker)? {
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(at(&partial)(error));
            }
            _ => {}
        }
        let counts = [(Split::Train, train_per_class), (Split::Val, val_per_class)];
        write_images(&partial, spec, counts, workers, progress)?;
        write_text(&partial.join("masks").join("classes.txt"), &mask_names())?;
        write_text(&partial.join(MARKER), &marker)?;
        fs::rename(&partial, dir).map_err(at(dir))?;
    }
    // Only now that `dir` is whole: whoever still waits at this file finds the set.
    fs::remove_file(&lock_path).map_err(at(&lock_path))
}

fn write_images(
    root: &Path,
    spec: &SceneSpec,
    counts: [(Split, usize); 2],
    workers: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), SceneError> {
    let names = class_names();
    let mut jobs = Vec::new();
    for (split, count) in counts {
        for (class, name) in names.iter().enumerate() {
            let images = root.join(split.name()).join(name);
            let masks = root.join("masks").join(split.name()).join(name);
            for folder in [&images, &masks] {
                fs::create_dir_all(folder).map_err(at(folder))?;
            }
            jobs.extend((0..count).map(|index| (split, class, index)));
        }
    }
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failure = Mutex::new(None);
    let work = || {
        while let Some(&(split, class, index)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = draw(spec, split, class, index as u64).and_then(|scene| {
                let place = Path::new(split.name())
                    .join(&names[class])
                    .join(format!("{index:04}.png"));
                write_scene(root, &place, spec.size, &scene)
            });
            match result {
                Ok(()) => progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len()),
                Err(error) => {
                    next.store(jobs.len(), Ordering::Relaxed);
                    failure
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(error);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers.min(jobs.len()) {
            scope.spawn(work);
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Writes the image to `root/place` and the mask to `root/masks/place`.
fn write_scene(root: &Path, place: &Path, size: usize, scene: &Scene) -> Result<(), SceneError> {
    write_png(&root.join(place), size, &scene.rgb, None)?;
    let mask = root.join("masks").join(place);
    write_png(&mask, size, &scene.mask, Some(&MASK_PALETTE))
}

/// Writes a square 8-bit PNG: palette indices where a palette is given, else RGB.
fn write_png(
    path: &Path,
    size: usize,
    pixels: &[u8],
    palette: Option<&'static [u8]>,
) -> Result<(), SceneError> {
    let encoding = |source| SceneError::Png {
        path: path.to_path_buf(),
        source,
    };
    let file = BufWriter::new(File::create(path).map_err(at(path))?);
    let mut encoder = png::Encoder::new(file, size as u32, size as u32);
    encoder.set_depth(png::BitDepth::Eight);
    match palette {
        Some(palette) => {
            encoder.set_color(png::ColorType::Indexed);
            encoder.set_palette(palette);
            // Neighbouring indices have no numeric relation for a filter to use.
            encoder.set_filter(png::Filter::NoFilter);
        }
        None => encoder.set_color(png::ColorType::Rgb),
    }
    let mut writer = encoder.write_header().map_err(encoding)?;
    writer.write_image_data(pixels).map_err(encoding)?;
    writer.finish().map_err(encoding)
}

fn write_text(path: &Path, text: &str) -> Result<(), SceneError> {
    fs::write(path, text).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SceneError {
    let path = path.to_path_buf();
    move |source| SceneError::Io { path, source }
}

/// What the marker file says of a set.
fn marker(spec: &SceneSpec, train_per_class: usize, val_per_class: usize) -> String {
    let SceneSpec { size, seed } = spec;
    format!(
        "version = {SCENES_VERSION}\nsize = {size}\nseed = {seed}\n\
         train_per_class = {train_per_class}\nval_per_class = {val_per_class}\n"
    )
}

/// `background`, then the shapes: line i names mask value i.
fn mask_names() -> String {
    let mut names = String::from("background\n");
    for shape in Shape::ALL {
        names.push_str(shape.name());
        names.push('\n');
    }
    names
}

/// Whether `dir` is the set of `wanted`; an error when it exists and is not.
fn holds(dir: &Path, wanted: &str) -> Result<bool, SceneError> {
    if !dir.try_exists().map_err(at(dir))? {
        return Ok(false);
    }
    let path = dir.join(MARKER);
    let mut found = Vec::new();
    match File::open(&path) {
        Ok(file) => {
            file.take(MARKER_LIMIT)
                .read_to_end(&mut found)
                .map_err(at(&path))?;
        }
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) => {}
        Err(error) => return Err(at(&path)(error)),
    }
    if found == wanted.as_bytes() {
        Ok(true)
    } else {
        Err(SceneError::Differs {
            dir: dir.to_path_buf(),
            wanted: wanted.trim_end().replace('\n', ", "),
        })
    }
}

/// The path with `suffix` added to its last component.
fn beside(dir: &Path, suffix: &str) -> Result<PathBuf, SceneError> {
    let mut name = dir
        .file_name()
        .ok_or_else(|| SceneError::NotADirectoryName {
            dir: dir.to_path_buf(),
        })?
        .to_os_string();
    name.push(suffix);
    Ok(dir.with_file_name(name))
}
