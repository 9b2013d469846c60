//! Class folders in the order of torchvision's `ImageFolder`.
//!
//! `make_dataset` (`torchvision/datasets/folder.py`) walks each class with
//! `sorted(os.walk(class, followlinks=True))` and sorts the files of every directory: directories
//! are ordered by their whole path as a string, so `a-b` comes before `a/c`. Two differences are
//! on purpose: hidden files and folders are skipped, and a link back to a parent is an error
//! where `os.walk` would list the same images dozens of times.

use super::{
    dataset::{
        ClassNames, LabelSource, Location, MAX_CLASSES, Sample, Scanned, extension, extensions,
        is_image,
    },
    dataset_error::DatasetError,
    manifest::FileStamp,
    shards,
};
use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What one directory holds, each part sorted by name.
pub(super) struct Listing {
    /// Subdirectories, and whether each is reached through a symbolic link.
    pub(super) directories: Vec<(String, bool)>,
    /// Names that end in `.tar`.
    pub(super) archives: Vec<String>,
    /// Image files.
    pub(super) images: Vec<ImageFile>,
    /// Other files by extension.
    pub(super) ignored: BTreeMap<String, u64>,
}

/// An image file as its directory lists it.
pub(super) struct ImageFile {
    pub(super) name: String,
    stamp: FileStamp,
}

impl ImageFile {
    /// The sample at `path` with this file's size and stamp.
    pub(super) fn sample(&self, path: String, label: u32) -> Sample {
        Sample {
            path,
            label,
            bytes: self.stamp.size,
            location: Location::File {
                inode: self.stamp.inode,
                mtime_ns: self.stamp.mtime_ns,
            },
        }
    }
}

/// A directory that is still to be listed.
struct Pending {
    path: PathBuf,
    /// Relative to the split's root; its first component is the class.
    relative: String,
    /// (device, inode) of every directory above, to notice cycles.
    above: Vec<(u64, u64)>,
    is_link: bool,
}

/// Lists one directory with a single `stat` for each image.
///
/// # Errors
/// When it is not a directory, a name is not UTF-8, an image is a broken link or no regular file.
pub(super) fn list(directory: &Path) -> Result<Listing, DatasetError> {
    let failed = |path: &Path, source: io::Error| DatasetError::Io {
        path: path.to_path_buf(),
        source,
    };
    let entries = fs::read_dir(directory).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory if is_packed(directory) => DatasetError::Packed {
            path: directory.to_path_buf(),
        },
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => DatasetError::NotADirectory {
            path: directory.to_path_buf(),
        },
        _ => failed(directory, error),
    })?;
    let mut listing = Listing {
        directories: Vec::new(),
        archives: Vec::new(),
        images: Vec::new(),
        ignored: BTreeMap::new(),
    };
    for entry in entries {
        let entry = entry.map_err(|error| failed(directory, error))?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let name = name
            .into_string()
            .map_err(|_| DatasetError::NonUtf8Name { path: entry.path() })?;
        let file_type = entry
            .file_type()
            .map_err(|error| failed(&entry.path(), error))?;
        // What a link leads to; `None` for a broken one.
        let target = file_type
            .is_symlink()
            .then(|| fs::metadata(entry.path()))
            .transpose();
        if file_type.is_dir() || matches!(&target, Ok(Some(target)) if target.is_dir()) {
            listing.directories.push((name, file_type.is_symlink()));
        } else if is_image(&name) {
            let metadata = match target {
                Ok(Some(target)) => Ok(target),
                Ok(None) => entry.metadata(),
                Err(error) => Err(error),
            }
            .map_err(|error| failed(&entry.path(), error))?;
            if !metadata.is_file() {
                return Err(DatasetError::NotAFile { path: entry.path() });
            }
            listing.images.push(ImageFile {
                name,
                stamp: FileStamp::of(&metadata, 0),
            });
        } else if extension(&name) == Some("tar") {
            listing.archives.push(name);
        } else {
            ignore(&mut listing.ignored, extension(&name), "");
        }
    }
    listing.directories.sort_unstable();
    listing.archives.sort_unstable();
    listing.images.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(listing)
}

/// Whether a file that stands for a folder is an archive, by its ending or its first bytes.
fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "tar")
        || fs::File::open(path).is_ok_and(|file| shards::is_compressed(&file).unwrap_or(false))
}

/// Counts an ignored file under its extension in lower case, with a remark when it is needed.
pub(super) fn ignore(ignored: &mut BTreeMap<String, u64>, extension: Option<&str>, remark: &str) {
    let extension = extension.map_or("(no extension)".into(), str::to_ascii_lowercase);
    *ignored.entry(extension + remark).or_default() += 1;
}

/// Lists every class folder of a split. Classes are the folders' names, sorted by code point.
///
/// # Errors
/// As [`list`], and for a class folder without images or a cycle of links.
pub(super) fn scan(root: &Path, top: Listing) -> Result<Scanned, DatasetError> {
    if top.directories.len() > MAX_CLASSES as usize {
        return Err(DatasetError::TooManyClasses {
            path: root.to_path_buf(),
            classes: top.directories.len() as u64,
            limit: MAX_CLASSES,
        });
    }
    let mut ignored = top.ignored;
    for image in &top.images {
        ignore(
            &mut ignored,
            extension(&image.name),
            " (outside the class folders)",
        );
    }
    for archive in &top.archives {
        ignore(&mut ignored, extension(archive), "");
    }
    let split_identity = identity(root)?;
    let mut samples = Vec::new();
    let mut empty = Vec::new();
    for ((class, is_link), label) in top.directories.iter().zip(0..) {
        let before = samples.len();
        let mut directories = walk(
            Pending {
                path: root.join(class),
                relative: class.clone(),
                above: vec![split_identity],
                is_link: *is_link,
            },
            &mut ignored,
        )?;
        directories.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (relative, images) in &directories {
            samples.extend(
                images
                    .iter()
                    .map(|image| image.sample([relative, "/", &image.name].concat(), label)),
            );
        }
        if samples.len() == before {
            empty.push(class.clone());
        }
    }
    if !empty.is_empty() {
        return Err(DatasetError::EmptyClass {
            path: root.to_path_buf(),
            classes: empty,
            extensions: extensions(),
        });
    }
    samples.shrink_to_fit();
    Ok(Scanned {
        samples,
        classes: ClassNames::Names(top.directories.into_iter().map(|(name, _)| name).collect()),
        labels: LabelSource::ClassFolders,
        ignored,
        shards: Vec::new(),
    })
}

/// The images of a directory without subfolders, by name, all with label 0.
pub(super) fn flat(listing: Listing) -> Scanned {
    let mut ignored = listing.ignored;
    for archive in &listing.archives {
        ignore(&mut ignored, extension(archive), "");
    }
    Scanned {
        samples: listing
            .images
            .iter()
            .map(|image| image.sample(image.name.clone(), 0))
            .collect(),
        classes: ClassNames::Numbers,
        labels: LabelSource::Unlabelled,
        ignored,
        shards: Vec::new(),
    }
}

/// The images at and below a directory by path, all with label 0.
///
/// # Errors
/// As [`list`], and for a cycle of links.
pub(super) fn nested(root: &Path) -> Result<Scanned, DatasetError> {
    let top = list(root)?;
    let identity = identity(root)?;
    let directories = top.directories.clone();
    let mut scanned = flat(top);
    for (name, is_link) in directories {
        let directory = Pending {
            path: root.join(&name),
            relative: name,
            above: vec![identity],
            is_link,
        };
        for (relative, images) in walk(directory, &mut scanned.ignored)? {
            let path = |image: &ImageFile| [&relative, "/", &image.name].concat();
            let images = images.iter().map(|image| image.sample(path(image), 0));
            scanned.samples.extend(images);
        }
    }
    scanned.samples.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(scanned)
}

/// Every directory at or below `class` that holds images, in no particular order.
fn walk(
    class: Pending,
    ignored: &mut BTreeMap<String, u64>,
) -> Result<Vec<(String, Vec<ImageFile>)>, DatasetError> {
    let mut found = Vec::new();
    let mut pending = vec![class];
    while let Some(directory) = pending.pop() {
        let own = identity(&directory.path)?;
        if directory.is_link && directory.above.contains(&own) {
            return Err(DatasetError::LinkCycle {
                path: directory.path,
            });
        }
        let listing = list(&directory.path)?;
        let mut above = directory.above;
        above.push(own);
        for (name, is_link) in listing.directories {
            pending.push(Pending {
                path: directory.path.join(&name),
                relative: [&directory.relative, "/", &name].concat(),
                above: above.clone(),
                is_link,
            });
        }
        for archive in &listing.archives {
            ignore(ignored, extension(archive), "");
        }
        for (extension, count) in listing.ignored {
            *ignored.entry(extension).or_default() += count;
        }
        if !listing.images.is_empty() {
            found.push((directory.relative, listing.images));
        }
    }
    Ok(found)
}

/// What tells a directory from every other one, by whatever path it is reached.
fn identity(directory: &Path) -> Result<(u64, u64), DatasetError> {
    fs::metadata(directory)
        .map(|metadata: Metadata| (metadata.dev(), metadata.ino()))
        .map_err(|source| DatasetError::Io {
            path: directory.to_path_buf(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::super::dataset::{
        LabelSource, Split,
        tests::{labelled, tree},
    };
    use super::*;
    use std::{
        ffi::OsStr,
        os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    };

    /// The expectation is the output of torchvision 0.26's `ImageFolder` on the same tree.
    #[test]
    fn order_is_that_of_image_folder() {
        let expected = [
            ("Zebra/10.jpg", 0),
            ("Zebra/9.jpg", 0),
            ("Zebra/B.jpg", 0),
            ("Zebra/a.JPG", 0),
            ("Zebra/b.png", 0),
            ("Zebra/with space.jpg", 0),
            ("Zebra/a/c.jpg", 0),
            ("Zebra/a-b/d.jpg", 0),
            ("Zebra/a/z/e.webp", 0),
            ("Zebra/a0/f.jpg", 0),
            ("a/1.jpg", 1),
            ("a-b/1.jpg", 2),
            ("a.b/1.jpg", 3),
            ("ant/_.tif", 4),
            ("ant/deep.jpg", 4),
            ("ant/e.jpg", 4),
            ("ant/f.jpg", 4),
            ("ant/é.jpg", 4),
            ("ant/\u{ff5e}.png", 4),
            ("ant/\u{1f600}.png", 4),
            ("ant/B/1.bmp", 4),
            ("ant/a/1.pgm", 4),
            ("ant/deep/0.PpM", 4),
            ("ant/deep/er/est/1.tiff", 4),
            ("n10/1.jpg", 5),
            ("n9/1.jpg", 6),
            ("with space/1.jpg", 7),
            ("zz/1.jpg", 8),
            ("zz/link/1.jpg", 8),
            ("Ärger/1.jpeg", 9),
        ];
        let mut files: Vec<&str> = expected
            .iter()
            .map(|&(path, _)| path)
            .filter(|path| !path.contains("link"))
            .chain(["Zebra/notes.txt", "Zebra/jpg", "Zebra/x.jpg.bak"])
            .collect();
        files.reverse();
        let root = tree(&files);
        symlink(root.path().join("a"), root.path().join("zz/link")).unwrap();
        let (split, classes) = Split::folder(root.path()).unwrap();
        assert_eq!(labelled(&split), expected);
        assert_eq!(classes.first().map(String::as_str), Some("Zebra"));
        assert_eq!(classes.last().map(String::as_str), Some("Ärger"));
        assert_eq!(
            split.ignored.into_iter().collect::<Vec<_>>(),
            [
                ("(no extension)".to_string(), 1),
                ("bak".to_string(), 1),
                ("txt".to_string(), 1)
            ]
        );
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        let root = tree(&["a/1.jpg", "b/2.jpg"]);
        symlink(root.path().join("b/2.jpg"), root.path().join("a/2.jpg")).unwrap();
        let (split, _) = Split::folder(root.path()).unwrap();
        assert_eq!(
            labelled(&split),
            [("a/1.jpg", 0), ("a/2.jpg", 0), ("b/2.jpg", 1)]
        );
        assert_eq!(split.read(1).unwrap(), b"b/2.jpg");

        for target in ["a", ".", "b/.."] {
            let link = root.path().join("a/round");
            symlink(root.path().join(target), &link).unwrap();
            let error = Split::folder(root.path()).unwrap_err();
            assert!(
                matches!(&error, DatasetError::LinkCycle { path } if path.starts_with(&link)),
                "{target}: {error}"
            );
            fs::remove_file(link).unwrap();
        }
    }

    #[test]
    fn broken_links_and_pipes_are_named() {
        let root = tree(&["a/1.jpg"]);
        symlink("nowhere", root.path().join("a/notes.txt")).unwrap();
        assert_eq!(Split::folder(root.path()).unwrap().0.ignored["txt"], 1);
        symlink("nowhere", root.path().join("a/2.jpg")).unwrap();
        let error = Split::folder(root.path()).unwrap_err().to_string();
        assert!(error.contains("a/2.jpg"), "{error}");
        fs::remove_file(root.path().join("a/2.jpg")).unwrap();
        let _listener = UnixListener::bind(root.path().join("a/3.jpg")).unwrap();
        assert!(matches!(
            Split::folder(root.path()),
            Err(DatasetError::NotAFile { .. })
        ));
    }

    #[test]
    fn names_that_are_not_utf8_are_refused() {
        let root = tree(&["a/1.jpg"]);
        let name = OsStr::from_bytes(b"a/caf\xe9.jpg");
        fs::write(root.path().join(name), b"").unwrap();
        assert!(matches!(
            Split::folder(root.path()),
            Err(DatasetError::NonUtf8Name { .. })
        ));
    }

    /// Torchvision lists the same files in the same order (checked once by hand); here the order
    /// is compared with a plain sort, which is the same for folders one level deep.
    #[test]
    fn real_photographs() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/photos/train");
        if !Path::new(root).is_dir() {
            eprintln!("skipped: {root} is absent");
            return;
        }
        let (split, classes) = Split::folder(Path::new(root)).unwrap();
        assert_eq!((split.samples.len(), classes.len()), (1400, 10));
        assert!(split.samples.is_sorted_by(|a, b| a.path < b.path));
        assert_eq!(split.labels, LabelSource::ClassFolders);
    }
}
