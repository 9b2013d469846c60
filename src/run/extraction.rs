//! Features for several cells by one pass over the images.

use std::cmp::Reverse;
use std::sync::Arc;

use super::Terminal;
use super::cells::LazyEncoder;
use super::record::Looked;
use crate::data::Split;
use crate::error::Error;
use crate::features::{
    ExtractError, Extraction, Extractor, FeatureMatrix, Observer, Rider, Stored,
};
use crate::plan::{ImageList, Part, Request};

/// What is asked of one list of images, each object once.
struct Union {
    images: ImageList,
    stored: Vec<Stored>,
    dims: Vec<usize>,
}

/// Features of one list of images.
pub(super) struct Extracted {
    part: Part,
    manifest: [u8; 32],
    stored: Vec<Stored>,
    extraction: Extraction,
}

/// What a request asked for.
pub(super) struct Features<'a> {
    /// Which half of the dataset.
    part: Part,
    /// The images.
    pub split: Arc<Split>,
    /// One matrix a tap.
    pub matrices: Vec<&'a FeatureMatrix>,
    /// Images that have features, ascending.
    pub kept: &'a [u32],
    /// First half of the blake3 of every image's bytes.
    pub contents: Vec<[u8; 16]>,
    /// Images that were encoded now.
    pub encoded: usize,
    /// Seconds that the pass took, whoever else it was for.
    pub seconds: f64,
}

impl<'a> Features<'a> {
    /// The request's share of what was extracted.
    pub(super) fn of(request: &Request, extracted: &'a [Extracted]) -> Result<Self, Error> {
        let folder = |stored: &Stored| stored.folder.clone();
        let lost = |stored: Option<&Stored>| ExtractError::Incomplete {
            folder: stored.map(folder).unwrap_or_default(),
        };
        let of_list = extracted
            .iter()
            .find(|list| list.part == request.part && list.manifest == request.images.manifest);
        let list = of_list.ok_or_else(|| lost(request.stored.first()))?;
        let matrix = |wanted: &Stored| {
            let place = list
                .stored
                .iter()
                .position(|own| own.folder == wanted.folder);
            let matrix = place.and_then(|place| list.extraction.matrices.get(place));
            matrix.ok_or_else(|| lost(Some(wanted)))
        };
        Ok(Self {
            part: request.part,
            split: Arc::clone(&request.images.split),
            matrices: request
                .stored
                .iter()
                .map(matrix)
                .collect::<Result<_, _>>()?,
            kept: list.extraction.kept(),
            contents: list.extraction.contents(),
            encoded: list.extraction.encoded,
            seconds: list.extraction.seconds,
        })
    }

    /// Classes of the images that have features.
    pub(super) fn labels(&self) -> Vec<u32> {
        self.looked().labels()
    }

    /// The images, as they were.
    pub(super) fn looked(&self) -> Looked {
        Looked {
            part: self.part,
            split: Arc::clone(&self.split),
            kept: self.kept.to_vec(),
            contents: self.contents.clone(),
        }
    }
}

/// For each image of `carrier` its place in `rider`; both are lists of one split.
fn own_places(carrier: &ImageList, rider: &ImageList) -> Vec<Option<u32>> {
    let count = carrier.split.samples.len();
    let place = |list: &ImageList, at: usize| match &list.places {
        Some(places) => places[at],
        None => at as u32,
    };
    let mut own = vec![None; count];
    let mut at = 0;
    for index in 0..rider.split.samples.len() {
        let wanted = place(rider, index);
        while at < count && place(carrier, at) < wanted {
            at += 1;
        }
        if at < count && place(carrier, at) == wanted {
            own[at] = Some(index as u32);
        }
    }
    own
}

/// Images that the requests would have encoded each for itself, beyond those that are encoded now;
/// `own` has the places of every list but the first in the first.
fn saving(
    requests: &[&Request],
    extractors: &[(&Union, Extractor<'_>)],
    own: &[Vec<Option<u32>>],
) -> usize {
    let alone = requests.iter().map(|request| {
        let same = |(union, _): &&(&Union, _)| union.images.manifest == request.images.manifest;
        let list = extractors.iter().find(same);
        list.map_or(0, |(_, extractor)| extractor.missing_of(&request.stored))
    });
    let Some(((_, carrier), others)) = extractors.split_first() else {
        return 0;
    };
    let left = others.iter().zip(own);
    let left = left.map(|((_, rider), own)| rider.missing() - carrier.shared(own, rider));
    alone.sum::<usize>() - carrier.missing() - left.sum::<usize>()
}

/// Brings what the requests ask for, from the store where it is. Requests are of one half of a
/// dataset: lists of some of its images ride on the pass over all of them, or over the longest list.
pub(super) fn extract(
    part: Part,
    requests: &[&Request],
    encoder: &mut LazyEncoder<'_>,
    terminal: &mut Terminal,
) -> Result<Vec<Extracted>, Error> {
    let name = encoder.cell().subject.name();
    let input = &encoder.cell().input;
    let options = encoder.run().pass;
    let mut unions: Vec<Union> = Vec::new();
    for request in requests {
        let alike = |union: &&mut Union| union.images.manifest == request.images.manifest;
        let place = match unions.iter_mut().find(alike) {
            Some(union) => union,
            None => {
                unions.push(Union {
                    images: request.images.clone(),
                    stored: Vec::new(),
                    dims: Vec::new(),
                });
                let last = unions.len() - 1;
                &mut unions[last]
            }
        };
        for (stored, &dim) in request.stored.iter().zip(&request.dims) {
            if place.stored.iter().all(|own| own.folder != stored.folder) {
                place.stored.push(stored.clone());
                place.dims.push(dim);
            }
        }
    }
    // All images first, then the others, in an order that every process keeps.
    unions.sort_by_key(|union| {
        let images = union.images.split.samples.len();
        (
            union.images.places.is_some(),
            Reverse(images),
            union.images.manifest,
        )
    });
    let mut extractors = Vec::new();
    for union in &unions {
        let split = &union.images.split;
        let extractor = Extractor::open(split, &union.stored, &union.dims, options, terminal)?;
        extractors.push((union, extractor));
    }
    let split_name = |union: &Union| union.images.split.name.clone();
    let own: Vec<_> = (unions.iter().skip(1))
        .map(|union| own_places(&unions[0].images, &union.images))
        .collect();
    let saved = saving(requests, &extractors, &own);
    if saved > 0 {
        terminal.notice(&format!(
            "{name}: what {} protocols look at is decoded and encoded once, which saves {saved} forward passes",
            requests.len()
        ));
    }
    if let Some(((first, carrier), others)) = extractors.split_first_mut()
        && carrier.missing() > 0
    {
        let mut riders: Vec<Rider<'_, '_>> = (others.iter_mut().zip(&own))
            .map(|((_, extractor), own)| Rider { extractor, own })
            .collect();
        terminal.begin(&format!("{name} {}", split_name(first)));
        let encoded = carrier.encode(encoder.get()?, input, &mut riders, terminal);
        terminal.end();
        encoded?;
    }
    let mut extracted = Vec::new();
    for (union, mut extractor) in extractors {
        if extractor.missing() > 0 {
            terminal.begin(&format!("{name} {}", split_name(union)));
            let encoded = extractor.encode(encoder.get()?, input, &mut [], terminal);
            terminal.end();
            encoded?;
        }
        let extraction = extractor.finish()?;
        let (images, split) = (extraction.images, split_name(union));
        terminal.notice(&match extraction.encoded {
            0 => format!(
                "{name}: features of {images} {split} images are in the store; no forward pass"
            ),
            n => format!(
                "{name}: {n} of {images} {split} images encoded, {:.1} images/s",
                n as f64 / extraction.seconds
            ),
        });
        extracted.push(Extracted {
            part,
            manifest: union.images.manifest,
            stored: union.stored.clone(),
            extraction,
        });
    }
    Ok(extracted)
}
