//! What classes are called, from files that lie beside a set.

use std::io::ErrorKind;
use std::path::Path;

use super::{IGNORED_LABEL, MaskSpec, SegmentationDataError};
use crate::data::DatasetError;

/// Files that may name the classes, in order of preference.
const FILES: [(&str, Form); 3] = [
    ("classes.txt", Form::List),
    ("objectInfo150.txt", Form::Table),
    ("classes150.tsv", Form::Table),
];

/// The largest such file, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// How a file is laid out.
#[derive(Clone, Copy)]
enum Form {
    /// A name a line, or a mask's value, a tab and its name.
    List,
    /// Columns between tabs under a header that calls them `Idx` or `index`, `Name` or `name`, and
    /// perhaps `R`, `G` and `B`.
    Table,
}

/// Names of all classes in label order.
#[derive(Debug, PartialEq)]
pub(super) struct ClassNames {
    pub(super) names: Vec<String>,
    /// Their colours, where the file has some.
    pub(super) colours: Option<Vec<[u8; 3]>>,
}

/// A class as a file names it.
struct Line {
    value: u32,
    name: String,
    colour: Option<[u8; 3]>,
}

/// Reads the first file that is there; `None` if none is.
pub(super) fn find(
    root: &Path,
    masks: &MaskSpec,
) -> Result<Option<ClassNames>, SegmentationDataError> {
    for (file, form) in FILES {
        let path = root.join(file);
        let failed = |source| {
            let path = path.clone();
            SegmentationDataError::Dataset(DatasetError::Io { path, source })
        };
        let bytes = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        let wrong = |problem| {
            let path = path.clone();
            SegmentationDataError::ClassNames { path, problem }
        };
        if bytes > MAX_BYTES {
            return Err(wrong(format!(
                "has {bytes} bytes, too many for class names"
            )));
        }
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let lines = match form {
            Form::List => list(&text, masks),
            Form::Table => table(&text),
        };
        let named = lines.and_then(|lines| ordered(lines, masks));
        return named.map(Some).map_err(wrong);
    }
    Ok(None)
}

/// Names of one class lie between commas or semicolons; the first is taken.
fn first_name(text: &str) -> &str {
    text.split([',', ';']).next().unwrap_or(text).trim()
}

fn list(text: &str, masks: &MaskSpec) -> Result<Vec<Line>, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<&str> = lines.collect();
    let numbered = lines.iter().all(|line| {
        let (value, _) = line.split_once('\t').unwrap_or_default();
        value.trim().parse::<u32>().is_ok()
    });
    let first = u32::from(masks.reduce_zero_label);
    let line = |(place, line): (u32, &&str)| {
        let (value, name) = match line.split_once('\t') {
            Some((value, name)) if numbered => (value.trim().parse().ok(), name),
            _ => (Some(first + place), *line),
        };
        Ok(Line {
            value: value.ok_or_else(|| format!("`{line}` has no value"))?,
            name: name.trim().to_owned(),
            colour: None,
        })
    };
    (0..).zip(&lines).map(line).collect()
}

fn table(text: &str) -> Result<Vec<Line>, String> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let header: Vec<&str> = lines
        .next()
        .unwrap_or("")
        .split('\t')
        .map(str::trim)
        .collect();
    let column = |names: [&str; 2]| header.iter().position(|name| names.contains(name));
    let (Some(value), Some(name)) = (column(["Idx", "index"]), column(["Name", "name"])) else {
        return Err("the header names no columns Idx and Name".into());
    };
    let colour = match ["R", "G", "B"].map(|name| column([name; 2])) {
        [Some(red), Some(green), Some(blue)] => Some([red, green, blue]),
        _ => None,
    };
    let read = |line: &str| {
        let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
        let colour = match colour {
            None => Some(None),
            Some(columns) => {
                let parts = columns.map(|at| cells.get(at)?.parse::<u8>().ok());
                let [red, green, blue] = parts;
                red.zip(green).zip(blue).map(|((r, g), b)| Some([r, g, b]))
            }
        };
        let value = cells.get(value).and_then(|cell| cell.parse().ok());
        let line = value.zip(cells.get(name)).zip(colour);
        line.map(|((value, name), colour)| Line {
            value,
            name: first_name(name).to_owned(),
            colour,
        })
    };
    let read = |line: &str| read(line).ok_or_else(|| format!("`{line}` does not fit the header"));
    lines.map(read).collect()
}

/// Puts names in the order of the labels; those of ignored values fall away.
fn ordered(lines: Vec<Line>, masks: &MaskSpec) -> Result<ClassNames, String> {
    let classes = masks.classes as usize;
    let mut named: Vec<Option<Line>> = Vec::new();
    named.resize_with(classes, || None);
    for line in lines {
        let label = u16::try_from(line.value).ok();
        let label = label.and_then(|raw| masks.label(raw)).ok_or_else(|| {
            let (value, name) = (line.value, &line.name);
            format!("value {value}, `{name}`, is beyond the {classes} classes")
        })?;
        if line.name.is_empty() {
            return Err(format!("value {} has no name", line.value));
        }
        if label == IGNORED_LABEL {
            continue;
        }
        if let Some(slot) = named.get_mut(usize::from(label))
            && let Some(before) = slot.replace(line)
        {
            return Err(format!("value {} is named twice", before.value));
        }
    }
    if let Some(class) = named.iter().position(Option::is_none) {
        let given = named.iter().flatten().count();
        return Err(format!(
            "class {class} has no name: it names {given}, and the protocol has {classes} classes"
        ));
    }
    let named: Vec<Line> = named.into_iter().flatten().collect();
    Ok(ClassNames {
        colours: named.iter().map(|line| line.colour).collect(),
        names: named.into_iter().map(|line| line.name).collect(),
    })
}
