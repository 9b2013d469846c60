//! Tar shards in WebDataset's layout, indexed by their headers and read in place.
//!
//! Members that stand side by side and share a path up to the first dot of the file name make one
//! sample, as in WebDataset (`webdataset/tariterators.py`, `group_by_keys`). The walk understands
//! ustar, GNU long names and PAX paths and sizes. Whatever it does not understand is an error,
//! because skipping it would shift labels in silence.

use super::{
    dataset::{ClassNames, LabelSource, Location, MAX_CLASSES, Sample, Scanned, Shard},
    dataset_error::{DatasetError, ShardProblem},
    folder::ignore,
    manifest::FileStamp,
};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};
use tar::Header;

/// Tar's unit: headers fill one block and data is padded to whole ones.
const BLOCK: u64 = 512;

/// The largest long name or PAX header, in bytes. Linux paths have at most 4,096.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// The largest `.cls` member, in bytes: a number.
const MAX_CLASS_BYTES: u64 = 64;

/// The largest `.json` member, in bytes.
const MAX_JSON_BYTES: u64 = 1 << 20;

/// How much is read at once while walking headers, in bytes: a page.
const WINDOW_BYTES: u64 = 4096;

/// Suffixes of images in shards.
const IMAGE_SUFFIXES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Endings of archives that must be unpacked first.
const ARCHIVE_ENDINGS: [&str; 3] = [".tar", ".tar.gz", ".tgz"];

/// First bytes of gzip, zstd, xz, bzip2 and zip files.
const COMPRESSED: [&[u8]; 5] = [
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ",
    b"BZh",
    b"PK\x03\x04",
];

/// A member of an archive.
struct Member {
    /// Its path without a leading `./` or `/`.
    name: String,
    /// Where its data begins in the archive, in bytes.
    offset: u64,
    size: u64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Link,
    /// Directories and devices.
    Other,
}

/// A walk over the headers of one archive.
struct Archive {
    path: PathBuf,
    file: File,
    stamp: FileStamp,
    position: u64,
    /// Part of the file, and where it begins: headers and labels are small and lie close together.
    window: Vec<u8>,
    window_start: u64,
    /// The member before the current header, for error messages.
    last: String,
}

/// PAX records that change the next member.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

/// The members that share a key.
#[derive(Default)]
struct Group {
    key: String,
    image: Option<Member>,
    class: Option<Member>,
    json: Option<Member>,
}

/// How a sample is labelled.
enum Label<'a> {
    Number(u32),
    Folder(&'a str),
}

/// What has been collected from the shards so far.
#[derive(Default)]
struct Index {
    samples: Vec<Sample>,
    ignored: BTreeMap<String, u64>,
    /// Number of each class folder, in order of appearance.
    folders: HashMap<String, u32>,
    is_numbered: Option<bool>,
}

/// Indexes the shards `names` below `root`, in that order.
///
/// # Errors
/// [`DatasetError::Shard`] for a damaged archive or a sample whose label is missing or doubtful.
pub(super) fn scan(root: &Path, names: Vec<String>) -> Result<Scanned, DatasetError> {
    let mut index = Index::default();
    let mut shards = Vec::with_capacity(names.len());
    for (name, shard) in names.into_iter().zip(0..) {
        let mut archive = Archive::open(root.join(&name))?;
        let mut group = Group::default();
        while let Some(member) = archive.next()? {
            if let Some((key, role)) = index.role(&archive, &member)? {
                if key != group.key {
                    let done = std::mem::replace(&mut group, Group::of(key));
                    index.add(&mut archive, &name, shard, done)?;
                }
                group.put(&archive, member, role)?;
            }
        }
        index.add(&mut archive, &name, shard, group)?;
        shards.push(Shard {
            stamp: archive.stamp,
            name,
            contents: None,
        });
    }
    index.finish(root, shards)
}

/// Whether a file begins as compressed ones do.
pub(super) fn is_compressed(file: &File) -> io::Result<bool> {
    let mut start = [0; 5];
    let read = file.read_at(&mut start, 0)?;
    let start = start.split_at(read).0;
    Ok(COMPRESSED.iter().any(|magic| start.starts_with(magic)))
}

/// Orders names as people do: runs of digits by value, the rest by code point.
pub(super) fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    while let ([x, ..], [y, ..]) = (left, right) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (one, two) = (digits(&mut left), digits(&mut right));
            one.len().cmp(&two.len()).then(one.cmp(two))
        } else {
            (left, right) = (left.split_at(1).1, right.split_at(1).1);
            x.cmp(y)
        };
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Takes the leading digits off `text` and returns them without leading zeros.
fn digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (run, rest) = text.split_at(end);
    *text = rest;
    let zeros = run.iter().take_while(|&&byte| byte == b'0').count();
    run.split_at(zeros).1
}

/// What a member is to its sample.
#[derive(Clone, Copy)]
enum Role {
    Image,
    Class,
    Json,
}

impl Group {
    fn of(key: &str) -> Self {
        Self {
            key: key.into(),
            ..Self::default()
        }
    }

    fn put(&mut self, archive: &Archive, member: Member, role: Role) -> Result<(), DatasetError> {
        let (slot, what) = match role {
            Role::Image => (&mut self.image, "an image"),
            Role::Class => (&mut self.class, "a .cls label"),
            Role::Json => (&mut self.json, "a .json file"),
        };
        if slot.is_some() {
            return Err(archive.error(&member.name, ShardProblem::Repeated(what)));
        }
        *slot = Some(member);
        Ok(())
    }
}

impl Index {
    /// The key and role of a member, or `None` when it is not part of a sample.
    fn role<'a>(
        &mut self,
        archive: &Archive,
        member: &'a Member,
    ) -> Result<Option<(&'a str, Role)>, DatasetError> {
        let file_name = member.name.rsplit('/').next().unwrap_or_default();
        if member.kind == Kind::Other || file_name.starts_with('.') {
            return Ok(None);
        }
        let lower = file_name.to_ascii_lowercase();
        if ARCHIVE_ENDINGS.iter().any(|ending| lower.ends_with(ending)) {
            return Err(archive.error(&member.name, ShardProblem::Nested));
        }
        let Some((stem, suffix)) = lower.split_once('.') else {
            ignore(&mut self.ignored, None, "");
            return Ok(None);
        };
        let role = match suffix {
            "cls" => Role::Class,
            "json" => Role::Json,
            _ if IMAGE_SUFFIXES.contains(&suffix) => Role::Image,
            _ => {
                ignore(&mut self.ignored, Some(suffix), "");
                return Ok(None);
            }
        };
        if member.kind == Kind::Link {
            return Err(archive.error(&member.name, ShardProblem::NotPlain));
        }
        let end = member.name.len() - file_name.len() + stem.len();
        Ok(Some((member.name.split_at(end).0, role)))
    }

    /// Adds the sample that a group makes.
    fn add(
        &mut self,
        archive: &mut Archive,
        shard_name: &str,
        shard: u32,
        group: Group,
    ) -> Result<(), DatasetError> {
        let Some(image) = group.image else {
            if let Some(class) = group.class {
                return Err(archive.error(&class.name, ShardProblem::NoImage));
            }
            if group.json.is_some() {
                ignore(&mut self.ignored, Some("json"), "");
            }
            return Ok(());
        };
        let number = match (&group.class, &group.json) {
            (Some(class), _) => Some(archive.class_label(class)?),
            (None, Some(json)) => archive.json_label(json)?,
            (None, None) => None,
        };
        let label = match number {
            Some(number) => Label::Number(number),
            None => Label::Folder(
                image
                    .name
                    .rsplit('/')
                    .nth(1)
                    .filter(|folder| !folder.is_empty() && *folder != ".")
                    .ok_or_else(|| archive.error(&image.name, ShardProblem::NoLabel))?,
            ),
        };
        let is_number = matches!(label, Label::Number(_));
        if *self.is_numbered.get_or_insert(is_number) != is_number {
            let (number, folder) = ("a class number", "its folder");
            let (this, before) = if is_number {
                (number, folder)
            } else {
                (folder, number)
            };
            return Err(archive.error(&image.name, ShardProblem::MixedLabels { this, before }));
        }
        let label = match label {
            Label::Number(number) => number,
            Label::Folder(folder) => match self.folders.get(folder) {
                Some(label) => *label,
                None => {
                    let label = self.folders.len() as u32;
                    if label >= MAX_CLASSES {
                        return Err(DatasetError::TooManyClasses {
                            path: archive.path.clone(),
                            classes: u64::from(label) + 1,
                            limit: MAX_CLASSES,
                        });
                    }
                    self.folders.insert(folder.into(), label);
                    label
                }
            },
        };
        self.samples.push(Sample {
            path: [shard_name, "/", &image.name].concat(),
            label,
            bytes: image.size,
            location: Location::Member {
                shard,
                offset: image.offset,
            },
        });
        Ok(())
    }

    /// Sorts the class folders and renumbers the labels accordingly.
    fn finish(mut self, root: &Path, shards: Vec<Shard>) -> Result<Scanned, DatasetError> {
        let (classes, labels) = match self.is_numbered {
            None => {
                return Err(DatasetError::EmptySplit {
                    path: root.to_path_buf(),
                    looked_for: format!(
                        "members ending in .{} in {} shard(s)",
                        IMAGE_SUFFIXES.join(" ."),
                        shards.len()
                    ),
                });
            }
            Some(true) => (ClassNames::Numbers, LabelSource::ShardNumbers),
            Some(false) => {
                let mut folders: Vec<(String, u32)> = self.folders.into_iter().collect();
                folders.sort_unstable();
                let sorted: HashMap<u32, u32> = folders
                    .iter()
                    .map(|&(_, appeared)| appeared)
                    .zip(0..)
                    .collect();
                for sample in &mut self.samples {
                    if let Some(&label) = sorted.get(&sample.label) {
                        sample.label = label;
                    }
                }
                let names = folders.into_iter().map(|(name, _)| name).collect();
                (ClassNames::Names(names), LabelSource::ShardFolders)
            }
        };
        self.samples.shrink_to_fit();
        Ok(Scanned {
            samples: self.samples,
            classes,
            labels,
            ignored: self.ignored,
            shards,
        })
    }
}

impl Archive {
    fn open(path: PathBuf) -> Result<Self, DatasetError> {
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = match opened {
            Ok((metadata, _)) if !metadata.is_file() => {
                return Err(DatasetError::NotAFile { path });
            }
            Ok(opened) => opened,
            Err(source) => return Err(DatasetError::Io { path, source }),
        };
        Ok(Self {
            stamp: FileStamp::of(&metadata, 0),
            path,
            file,
            position: 0,
            window: Vec::new(),
            window_start: 0,
            last: "the start".into(),
        })
    }

    fn error(&self, member: &str, problem: ShardProblem) -> DatasetError {
        DatasetError::Shard {
            shard: self.path.clone(),
            member: member.into(),
            problem,
        }
    }

    /// An error about the header at the current position.
    fn header_error(&self, problem: ShardProblem) -> DatasetError {
        self.error(
            &format!("header at byte {}, after {}", self.position, self.last),
            problem,
        )
    }

    /// Reads `size` bytes, which the caller has bounded and which lie inside the file.
    fn read(&mut self, offset: u64, size: u64) -> Result<&[u8], DatasetError> {
        let end = offset + size;
        if offset < self.window_start || end > self.window_start + self.window.len() as u64 {
            let ahead = (self.stamp.size.saturating_sub(offset)).min(WINDOW_BYTES);
            self.window.resize(ahead.max(size) as usize, 0);
            self.window_start = offset;
            if let Err(source) = self.file.read_exact_at(&mut self.window, offset) {
                return Err(DatasetError::Io {
                    path: self.path.clone(),
                    source,
                });
            }
        }
        let start = (offset - self.window_start) as usize;
        Ok(self.window.split_at(start).1.split_at(size as usize).0)
    }

    /// The next member, or `None` at the end mark.
    fn next(&mut self) -> Result<Option<Member>, DatasetError> {
        let mut long_name = None;
        let mut pax = Pax::default();
        loop {
            let left = self.stamp.size.saturating_sub(self.position);
            if left == 0 {
                return Err(self.header_error(ShardProblem::NoEndMark));
            }
            let mut block = [0; BLOCK as usize];
            let filled = left.min(BLOCK) as usize;
            let bytes = self.read(self.position, filled as u64)?;
            block.split_at_mut(filled).0.copy_from_slice(bytes);
            if self.position == 0 && COMPRESSED.iter().any(|magic| block.starts_with(magic)) {
                return Err(self.header_error(ShardProblem::Compressed));
            }
            if left < BLOCK {
                let (needs, has) = (BLOCK, left);
                return Err(self.header_error(ShardProblem::Truncated { needs, has }));
            }
            if block == [0; BLOCK as usize] {
                self.check_end()?;
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            let valid = header.cksum().is_ok_and(|sum| sum == checksum(&block));
            let (true, Ok(size)) = (valid, header.entry_size()) else {
                return Err(self.header_error(ShardProblem::BadHeader));
            };
            let kind = header.entry_type();
            let data = self.position + BLOCK;

            if kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions()
            {
                if size > MAX_EXTENSION_BYTES {
                    return Err(self.header_error(ShardProblem::Oversized {
                        what: "a long name or PAX header",
                        bytes: size,
                    }));
                }
                let has = left - BLOCK;
                if size > has {
                    let needs = size;
                    return Err(self.header_error(ShardProblem::Truncated { needs, has }));
                }
                let bytes = self.read(data, size)?;
                if kind.is_gnu_longname() {
                    let end = bytes.iter().position(|&byte| byte == 0);
                    long_name = Some(bytes.split_at(end.unwrap_or(bytes.len())).0.to_vec());
                } else if !kind.is_gnu_longlink() {
                    let records = Pax::parse(bytes);
                    let records =
                        records.ok_or_else(|| self.header_error(ShardProblem::BadExtension))?;
                    let changes_members = records.path.is_some() || records.size.is_some();
                    if kind.is_pax_local_extensions() {
                        pax = records;
                    } else if changes_members {
                        return Err(self.header_error(ShardProblem::BadExtension));
                    }
                }
                self.position = data + size.next_multiple_of(BLOCK);
                continue;
            }

            let name = match (pax.path, long_name) {
                (Some(name), _) | (None, Some(name)) => name,
                (None, None) => header.path_bytes().into_owned(),
            };
            let name = String::from_utf8(name)
                .map_err(|_| self.header_error(ShardProblem::NonUtf8Name))?;
            let name = name.trim_start_matches("./").trim_start_matches('/');
            if kind.is_gnu_sparse() || pax.is_sparse {
                return Err(self.error(name, ShardProblem::NotPlain));
            }
            // By POSIX (pax, ustar interchange format) links, directories and devices have no data
            // whatever their size field says.
            let (kind, size) = if kind.is_hard_link() || kind.is_symlink() {
                (Kind::Link, 0)
            } else if kind.is_dir()
                || kind.is_character_special()
                || kind.is_block_special()
                || kind.is_fifo()
            {
                (Kind::Other, 0)
            } else if name.ends_with('/') {
                // A directory in the oldest archives.
                (Kind::Other, 0)
            } else {
                (Kind::File, pax.size.unwrap_or(size))
            };
            let has = left - BLOCK;
            if size > has {
                let needs = size;
                return Err(self.error(name, ShardProblem::Truncated { needs, has }));
            }
            // No overflow: the data ends inside the file, whose size fits an i64.
            self.position = data + size.next_multiple_of(BLOCK);
            self.last = name.into();
            return Ok(Some(Member {
                name: name.into(),
                offset: data,
                size,
                kind,
            }));
        }
    }

    /// Checks that nothing but zeros follows the end mark: archives joined with `cat` would lose
    /// all but the first.
    fn check_end(&mut self) -> Result<(), DatasetError> {
        const CHUNK: u64 = 1 << 16;
        let mut position = self.position;
        while position < self.stamp.size {
            let size = CHUNK.min(self.stamp.size - position);
            if self.read(position, size)?.iter().any(|&byte| byte != 0) {
                return Err(self.header_error(ShardProblem::AfterEnd));
            }
            position += size;
        }
        Ok(())
    }

    /// The class number in a `.cls` member.
    fn class_label(&mut self, member: &Member) -> Result<u32, DatasetError> {
        let text = self.small(member, MAX_CLASS_BYTES, "a class number")?;
        let text = String::from_utf8_lossy(text).into_owned();
        self.class_number(member, text.trim(), text.trim().parse().ok())
    }

    /// The class number under `label` in a `.json` member, `None` when it has no such key.
    fn json_label(&mut self, member: &Member) -> Result<Option<u32>, DatasetError> {
        #[derive(serde::Deserialize)]
        struct Labelled {
            label: Option<serde_json::Value>,
        }
        let bytes = self.small(member, MAX_JSON_BYTES, "a .json label")?;
        let json: Result<Labelled, _> = serde_json::from_slice(bytes);
        let json = json
            .map_err(|error| self.error(&member.name, ShardProblem::BadLabel(error.to_string())))?;
        match json.label {
            None => Ok(None),
            Some(label) => self
                .class_number(member, &label.to_string(), label.as_u64())
                .map(Some),
        }
    }

    fn class_number(
        &self,
        member: &Member,
        text: &str,
        number: Option<u64>,
    ) -> Result<u32, DatasetError> {
        number
            .and_then(|number| u32::try_from(number).ok())
            .filter(|&number| number < MAX_CLASSES)
            .ok_or_else(|| {
                let text = text.chars().take(80).collect();
                self.error(&member.name, ShardProblem::BadLabel(text))
            })
    }

    fn small(
        &mut self,
        member: &Member,
        limit: u64,
        what: &'static str,
    ) -> Result<&[u8], DatasetError> {
        if member.size > limit {
            let bytes = member.size;
            return Err(self.error(&member.name, ShardProblem::Oversized { what, bytes }));
        }
        self.read(member.offset, member.size)
    }
}

impl Pax {
    /// Parses records of the form `length key=value\n`, where the length counts the whole record.
    /// `None` when they are malformed.
    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut pax = Self::default();
        while !bytes.is_empty() {
            let space = bytes.iter().position(|&byte| byte == b' ')?;
            let length: usize = str::from_utf8(bytes.get(..space)?).ok()?.parse().ok()?;
            let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
            bytes = bytes.get(length..)?;
            let equals = record.iter().position(|&byte| byte == b'=')?;
            let (key, value) = (record.get(..equals)?, record.get(equals + 1..)?);
            match key {
                b"path" => pax.path = Some(value.to_vec()),
                b"size" => pax.size = Some(str::from_utf8(value).ok()?.parse().ok()?),
                _ if key.starts_with(b"GNU.sparse.") => pax.is_sparse = true,
                _ => {}
            }
        }
        Some(pax)
    }
}

/// Sum of the header's bytes with the checksum's own field read as blanks.
fn checksum(block: &[u8; BLOCK as usize]) -> u32 {
    block
        .iter()
        .enumerate()
        .map(|(index, &byte)| match index {
            148..156 => u32::from(b' '),
            _ => u32::from(byte),
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::super::dataset::{
        Dataset,
        tests::{failure, labelled, open, tree, write},
    };
    use super::*;
    use std::fs;
    use tar::{Builder, EntryType};
    use tempfile::TempDir;

    /// An archive of plain members; long names get GNU headers.
    fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, data) in members {
            append(&mut builder, name, data);
        }
        builder.into_inner().unwrap()
    }

    fn append(builder: &mut Builder<Vec<u8>>, name: &str, data: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, name, data).unwrap();
    }

    /// A dataset whose only training shard is `bytes`.
    fn with_train(bytes: &[u8]) -> TempDir {
        let root = tree(&["val/a/1.jpg"]);
        write(root.path(), "train/0.tar", bytes);
        root
    }

    fn train_failure(bytes: &[u8]) -> String {
        failure(&with_train(bytes)).replace("ROOT/train/0.tar: ", "")
    }

    fn numbered() -> TempDir {
        let root = tree(&[]);
        let train = archive(&[
            ("./s0.jpg", b"zero"),
            ("./s0.cls", b"1\n"),
            ("./s0.txt", b"a caption"),
            ("dir/s1.json", br#"{"label": 0, "x": [1]}"#),
            ("dir/s1.PNG", b"one"),
        ]);
        write(root.path(), "imagenet-train-000.tar", &train);
        let val = archive(&[("v.webp", b"val"), ("v.cls", b"0")]);
        write(root.path(), "imagenet-validation-000.tar", &val);
        root
    }

    #[test]
    fn numbered_shards() {
        let root = numbered();
        let dataset = open(&root).unwrap();
        assert_eq!(dataset.classes, ["0", "1"]);
        assert_eq!(
            labelled(&dataset.train),
            [
                ("imagenet-train-000.tar/s0.jpg", 1),
                ("imagenet-train-000.tar/dir/s1.PNG", 0)
            ]
        );
        assert_eq!(dataset.train.labels, LabelSource::ShardNumbers);
        assert_eq!(dataset.val.directory, "validation");
        assert_eq!(dataset.train.read(0).unwrap(), b"zero");
        assert_eq!(dataset.train.read(1).unwrap(), b"one");
        assert_eq!(dataset.val.read(0).unwrap(), b"val");
        assert_eq!(dataset.train.ignored["txt"], 1);
        let stamp = dataset.train.stamp(1).unwrap();
        let shard = fs::read(root.path().join("imagenet-train-000.tar")).unwrap();
        assert_eq!(stamp.size, shard.len() as u64);
        assert_eq!(shard[stamp.offset as usize..][..3], *b"one");

        write(root.path(), "classes.txt", b"cat\ndog\nbird\n");
        assert_eq!(open(&root).unwrap().classes, ["cat", "dog", "bird"]);
        write(root.path(), "classes.txt", b"cat\n");
        assert!(failure(&root).ends_with("class 1 is outside the 1 classes of classes.txt"));
        write(root.path(), "imagenet-train-000.tar", b"shorter");
        assert!(matches!(
            dataset.train.read(0),
            Err(DatasetError::Changed { .. })
        ));
    }

    #[test]
    fn a_class_number_that_train_lacks_is_named() {
        for label in ["2", "7"] {
            let root = numbered();
            let val = archive(&[("v.jpg", b"v"), ("v.cls", label.as_bytes())]);
            write(root.path(), "imagenet-validation-000.tar", &val);
            write(root.path(), "classes.txt", b"cat\ndog\nbird\n");
            let name = if label == "2" { "bird" } else { "7" };
            assert!(failure(&root).starts_with(&format!("class `{name}` of ROOT")));
        }
    }

    #[test]
    fn folders_in_shards_are_classes_in_sorted_order() {
        let root = tree(&["val/ant/1.jpg"]);
        let first = archive(&[("train/zebra/1.jpg", b"z"), ("train/ant/1.JPEG", b"a")]);
        write(root.path(), "train/train-10.tar", &first);
        write(
            root.path(),
            "train/train-9.tar",
            &archive(&[("bee/1.jpg", b"b")]),
        );
        let dataset = open(&root).unwrap();
        assert_eq!(dataset.classes, ["ant", "bee", "zebra"]);
        assert_eq!(
            labelled(&dataset.train),
            [
                ("train-9.tar/bee/1.jpg", 1),
                ("train-10.tar/train/zebra/1.jpg", 2),
                ("train-10.tar/train/ant/1.JPEG", 0)
            ]
        );
        assert_eq!(dataset.train.labels, LabelSource::ShardFolders);
        assert_eq!(labelled(&dataset.val), [("ant/1.jpg", 0)]);
    }

    #[test]
    fn natural_order_counts() {
        let mut names = [
            "s10",
            "s9",
            "s09",
            "s1a",
            "s1",
            "s",
            "S2",
            "s00012345678901234567890",
        ];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            [
                "S2",
                "s",
                "s1",
                "s1a",
                "s09",
                "s9",
                "s10",
                "s00012345678901234567890"
            ]
        );
    }

    #[test]
    fn long_names_and_pax_records() {
        let long = format!("{}/class/x.jpg", "d".repeat(300));
        let mut builder = Builder::new(Vec::new());
        append(&mut builder, &long, b"gnu");
        builder
            .append_pax_extensions([
                ("path", "é/pax name.jpg".as_bytes()),
                ("size", b"3"),
                ("SCHILY.xattr.user.x", b"\n7 a=b\n"),
            ])
            .unwrap();
        // The header's own size is wrong, as for members that ustar cannot hold.
        let mut header = Header::new_ustar();
        header.set_path("short").unwrap();
        header.set_size(0);
        header.set_cksum();
        builder.append(&header, &b"pax"[..]).unwrap();
        let mut ustar = Header::new_ustar();
        ustar
            .set_path(format!("{}/e/y.jpg", "p".repeat(120)))
            .unwrap();
        ustar.set_size(5);
        ustar.set_cksum();
        builder.append(&ustar, &b"ustar"[..]).unwrap();
        let root = with_train(&builder.into_inner().unwrap());
        write(root.path(), "val/e/1.jpg", b"");
        fs::remove_dir_all(root.path().join("val/a")).unwrap();
        let dataset = open(&root).unwrap();
        assert_eq!(dataset.classes, ["class", "e", "é"]);
        let paths: Vec<_> = labelled(&dataset.train);
        assert_eq!(paths[0], (&*format!("0.tar/{long}"), 0));
        assert_eq!(paths[1], ("0.tar/é/pax name.jpg", 2));
        assert_eq!(
            paths[2],
            (&*format!("0.tar/{}/e/y.jpg", "p".repeat(120)), 1)
        );
        for (index, data) in [&b"gnu"[..], b"pax", b"ustar"].into_iter().enumerate() {
            assert_eq!(dataset.train.read(index).unwrap(), data);
        }
    }

    #[test]
    fn doubtful_samples_are_refused() {
        type Members<'a> = &'a [(&'a str, &'a [u8])];
        let cases: &[(Members, &str)] = &[
            (&[("x.jpg", b"")], "x.jpg: the image has no label"),
            (
                &[("x.cls", b"1")],
                "x.cls: the sample has a label and no image",
            ),
            (
                &[("x.jpg", b""), ("x.cls", b"one")],
                "x.cls: `one` is not a class number",
            ),
            (&[("x.jpg", b""), ("x.cls", b"-1")], "x.cls: `-1` is not"),
            (
                &[("x.jpg", b""), ("x.cls", b"99999999999")],
                "x.cls: `99999999999` is not",
            ),
            (
                &[("x.jpg", b""), ("x.cls", b"4294967295")],
                "x.cls: `4294967295` is not",
            ),
            (
                &[("x.jpg", b""), ("x.cls", &[b'1'; 65])],
                "x.cls: 65 bytes are too many",
            ),
            (
                &[("x.jpg", b""), ("x.json", br#"{"label": "cat"}"#)],
                "x.json: `\"cat\"` is not",
            ),
            (
                &[("x.jpg", b""), ("x.json", b"{")],
                "x.json: `EOF while parsing",
            ),
            (
                &[("x.jpg", b""), ("x.png", b"")],
                "x.png: the sample already has an image",
            ),
            (
                &[("a/x.jpg", b""), ("b/y.jpg", b""), ("b/y.cls", b"1")],
                "b/y.jpg: is labelled by a class number, samples before it by its folder",
            ),
            (
                &[("n01440764.tar", b"")],
                "n01440764.tar: is an archive inside the archive",
            ),
            (
                &[("a/readme.txt", b"")],
                "ROOT/train has no images: looked for members ending in .jpg",
            ),
        ];
        for (members, message) in cases {
            let found = train_failure(&archive(members));
            assert!(found.starts_with(message), "{found}");
        }
        // Captions without a label leave the folder as the class.
        let root = with_train(&archive(&[
            ("a/x.jpg", b""),
            ("a/x.json", br#"{"text": ""}"#),
        ]));
        assert_eq!(open(&root).unwrap().classes, ["a"]);
    }

    #[test]
    fn damaged_archives_are_refused() {
        let good = archive(&[("a/x.jpg", &[7; 700]), ("a/y.jpg", b"y")]);
        assert!(open(&with_train(&good)).is_ok());
        let truncated = train_failure(&good[..1000]);
        assert_eq!(
            truncated,
            "a/x.jpg: truncated: the member needs 700 bytes, 488 are left"
        );
        assert_eq!(
            train_failure(&good[..1536]),
            "header at byte 1536, after a/x.jpg: truncated: the archive ends without an end mark"
        );
        assert_eq!(
            train_failure(&good[..1600]),
            "header at byte 1536, after a/x.jpg: truncated: the member needs 512 bytes, 64 are left"
        );
        assert!(train_failure(b"").ends_with("the archive ends without an end mark"));
        assert!(train_failure(b"\x1f\x8b\x08gzip").ends_with("the archive is compressed"));
        assert!(
            train_failure(&[good.clone(), good.clone()].concat())
                .ends_with("the archive goes on after its end mark")
        );
        let mut flipped = good.clone();
        flipped[1540] ^= 1;
        assert!(train_failure(&flipped).ends_with("after a/x.jpg: not a valid tar header"));
    }

    #[test]
    fn links_and_sparse_files_are_refused() {
        for (kind, message) in [
            (EntryType::Link, "a/x.jpg: is a link or sparse file"),
            (EntryType::Symlink, "a/x.jpg: is a link or sparse file"),
            (EntryType::GNUSparse, "a/x.jpg: is a link or sparse file"),
        ] {
            let mut builder = Builder::new(Vec::new());
            let mut header = Header::new_gnu();
            header.set_path("a/x.jpg").unwrap();
            header.set_entry_type(kind);
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, &b""[..]).unwrap();
            let found = train_failure(&builder.into_inner().unwrap());
            assert!(found.starts_with(message), "{found}");
        }
    }

    #[test]
    fn pax_records_are_parsed_strictly() {
        let parse = |text: &str| Pax::parse(text.as_bytes());
        assert_eq!(parse("12 path=a/b\n").unwrap().path.unwrap(), b"a/b");
        assert_eq!(parse("10 size=7\n").unwrap().size, Some(7));
        assert!(parse("22 GNU.sparse.major=1\n").unwrap().is_sparse);
        for bad in [
            "12 path=a/b",
            "13 path=a/b\n",
            "11 path=a/b\n",
            "0 path=a\n",
            "path=a\n",
            "7 path\n",
            "99999999999999999999 a=b\n",
            "11 size=-7\n",
            "3 \n",
            " \n",
        ] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }

    /// Any change to an archive gives an index that can be read or an error, never a panic and
    /// never a sample outside the file.
    #[test]
    fn mutated_archives_never_panic() {
        let long = format!("{}/x.jpg", "l".repeat(150));
        let mut builder = Builder::new(Vec::new());
        append(&mut builder, &long, b"image");
        builder
            .append_pax_extensions([("path", &b"p/q.jpg"[..]), ("size", b"2")])
            .unwrap();
        append(&mut builder, "q", b"zz");
        append(&mut builder, "t/s.jpg", b"s");
        append(&mut builder, "t/s.json", b"{}");
        let good = builder.into_inner().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.tar");
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        let (mut fine, mut refused) = (0, 0);
        for round in 0..4000 {
            let mut bytes = good.clone();
            for _ in 0..=random(3) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            // Half of the archives have valid checksums, so that the damage gets past them.
            if round % 2 == 0 {
                for block in bytes.chunks_exact_mut(512) {
                    let sum = checksum((&*block).try_into().unwrap());
                    if block[257..262] == *b"ustar" {
                        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                    }
                }
            }
            if random(4) == 0 {
                bytes.truncate(random(bytes.len()));
            }
            fs::write(&path, &bytes).unwrap();
            match scan(dir.path(), vec!["0.tar".into()]) {
                Ok(scanned) => {
                    fine += 1;
                    for sample in scanned.samples {
                        let Location::Member { offset, .. } = sample.location else {
                            panic!("a shard's sample has no offset");
                        };
                        assert!(offset + sample.bytes <= bytes.len() as u64);
                    }
                }
                Err(_) => refused += 1,
            }
        }
        assert!(
            fine > 100 && refused > 1000,
            "{fine} fine, {refused} refused"
        );
    }

    #[test]
    fn hostile_sizes_are_refused_before_memory_is_taken() {
        for size in [u64::MAX, i64::MAX as u64, 1 << 40] {
            for kind in [
                EntryType::Regular,
                EntryType::GNULongName,
                EntryType::XHeader,
            ] {
                let mut header = Header::new_gnu();
                header.set_path("a/x.jpg").unwrap();
                header.set_entry_type(kind);
                header.set_size(size);
                header.set_cksum();
                let mut bytes = header.as_bytes().to_vec();
                bytes.resize(4096, 0);
                let root = with_train(&bytes);
                let error = open(&root).map(|_: Dataset| ()).unwrap_err();
                let DatasetError::Shard { problem, .. } = &error else {
                    panic!("{error}");
                };
                assert!(matches!(
                    problem,
                    ShardProblem::Truncated { .. } | ShardProblem::Oversized { .. }
                ));
            }
        }
    }
}
