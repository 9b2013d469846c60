//! Which images are looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::check::complete_copy;
use crate::data::segmentation::{MaskSpec, Scenes, SegmentationSet};
use crate::data::{Dataset, OpenOptions, Split};
use crate::error::Error;
use crate::spec::{AttentionTask, ImageChoice, Protocol, Shots};

/// Where images are looked for.
#[derive(Clone, Debug, Default)]
pub struct DataRequest {
    /// `--data`.
    pub folder: Option<PathBuf>,
    /// `$MIMBENCH_DATA`, or `--data` where that is a collection.
    pub collection: Option<PathBuf>,
    /// `--data`, where that is a collection.
    pub given: Option<PathBuf>,
    /// Label file of a flat validation folder.
    pub val_labels: Option<PathBuf>,
    /// Class-stratified limit a split.
    pub limit: Option<usize>,
}

impl DataRequest {
    /// A request where `--data` may be a collection: a folder that is no dataset itself.
    ///
    /// # Errors
    /// `--data` is no folder.
    pub fn of_collection(self) -> Result<Self, Error> {
        let Some(folder) = &self.folder else {
            return Ok(self);
        };
        if !folder.is_dir() {
            return Err(Error::Usage {
                message: format!("--data {} is no folder", folder.display()),
                hint: "it holds a folder for each dataset, or train and val of one".to_owned(),
            });
        }
        if Dataset::lies_in(folder) || SegmentationSet::lies_in(folder) {
            return Ok(self);
        }
        Ok(Self {
            collection: self.folder.clone(),
            given: self.folder.clone(),
            folder: None,
            ..self
        })
    }

    /// Whether images are asked for at some place: with `--data`, or in a folder of `dataset` in the
    /// collection.
    pub fn finds(&self, dataset: &str) -> bool {
        let collected = |collection: &PathBuf| collection.join(dataset).is_dir();
        self.folder.is_some() || self.collection.as_ref().is_some_and(collected)
    }

    /// The folder of `dataset`, or an error that says what was looked for.
    pub fn root(&self, dataset: &str) -> Result<PathBuf, Error> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let absent = |root: &Path| match &self.given {
            Some(given) => format!(
                "--data {} has no folder {dataset}, and no train and val of its own",
                given.display()
            ),
            None => format!("no --data was given and {} is no folder", root.display()),
        };
        let hint = "a dataset is a folder with train/<class>/* and val/<class>/*, for a segmentation with images/{train,val}/* and annotations/{train,val}/*; ADE20K is at http://sceneparsing.csail.mit.edu, ImageNet-1K is at https://image-net.org (registration needed), CIFAR-10 and CIFAR-100 (the binary version) at https://www.cs.toronto.edu/~kriz/cifar.html, and `mimbench demo` needs no download".to_owned();
        match &self.collection {
            Some(collection) => {
                let root = collection.join(dataset);
                if root.is_dir() {
                    Ok(root)
                } else {
                    let message = absent(&root);
                    Err(Error::Usage { message, hint })
                }
            }
            None => Err(Error::Usage {
                message: format!(
                    "no --data was given and $MIMBENCH_DATA is not set ($MIMBENCH_DATA/{dataset} was looked for)"
                ),
                hint,
            }),
        }
    }
}

/// The images of a dataset, and their identity.
#[derive(Debug)]
pub struct EvaluationSet {
    /// The folder, as given.
    pub root: PathBuf,
    /// The public dataset that it is a complete copy of.
    pub name: Option<String>,
    /// Class names by label.
    pub classes: Vec<String>,
    /// Colours by label, where masks say what the images show.
    pub palette: Vec<[u8; 3]>,
    /// Class-stratified limit a split, where one holds.
    pub limit: Option<usize>,
    /// The train split; none for images alone.
    pub train: Option<ImageList>,
    /// The validation split.
    pub val: ImageList,
}

/// Images of a split, all or some of them.
#[derive(Clone, Debug)]
pub struct ImageList {
    /// The images.
    pub split: Arc<Split>,
    /// Masks that say what each of them shows, where there are such.
    pub masks: Option<Arc<Split>>,
    /// Hash of paths, sizes and labels, of the masks too.
    pub manifest: [u8; 32],
    /// Their places in the split that they were chosen from, where they are not all of it.
    pub places: Option<Arc<Vec<u32>>>,
}

impl ImageList {
    fn all(split: Split) -> Self {
        Self::new((split, None), None)
    }

    fn new((split, masks): (Split, Option<Split>), places: Option<&[usize]>) -> Self {
        let images = split.manifest_hash();
        let manifest = match &masks {
            None => images,
            Some(masks) => *blake3::hash(&[images, masks.manifest_hash()].concat()).as_bytes(),
        };
        let places = places.map(|places| places.iter().map(|&place| place as u32).collect());
        Self {
            split: Arc::new(split),
            masks: masks.map(Arc::new),
            manifest,
            places: places.map(Arc::new),
        }
    }

    /// The images and masks of a segmentation.
    fn scenes(scenes: Scenes) -> Self {
        Self::new((scenes.images, Some(scenes.masks)), None)
    }

    /// The images with their masks, where they have such.
    pub fn scene_pairs(&self) -> Option<Scenes> {
        self.masks.as_ref().map(|masks| Scenes {
            images: Split::clone(&self.split),
            masks: Split::clone(masks),
        })
    }

    /// A fixed choice of train images; all where the choice leaves every one in.
    pub(super) fn shots(&self, shots: Shots, seed: u64) -> Self {
        match shots {
            Shots::All => self.clone(),
            Shots::Percent(percent) => self.some(&self.split.fraction(percent / 100.0, seed)),
            Shots::PerClass(images) => self.some(&self.split.per_class(images, seed)),
        }
    }

    /// The images at these places; all where none is left out.
    fn some(&self, places: &[usize]) -> Self {
        if places.len() == self.split.samples.len() {
            return self.clone();
        }
        let masks = self.masks.as_ref().map(|masks| masks.subset(places));
        Self::new((self.split.subset(places), masks), Some(places))
    }

    /// The images of an attention analysis; all where the choice leaves every one in.
    pub(super) fn chosen(&self, task: &AttentionTask, seed: u64) -> Self {
        let places = match task.choice {
            ImageChoice::Stratified => self.split.stratified(task.images, seed),
            ImageChoice::ClVsMim => {
                let mut places = self.split.first_of_each_class(CL_VS_MIM_SHARE);
                places.truncate(task.images);
                places
            }
        };
        self.some(&places)
    }
}

/// The share of a class's images that cl-vs-mim looks at: one in so many
/// (naver-ai/cl-vs-mim `self_attention_analysis.ipynb`, 2^-6).
const CL_VS_MIM_SHARE: usize = 64;

impl EvaluationSet {
    /// Opens train and validation split below `root`, at most `limit` images of each.
    pub fn open(root: &Path, request: &DataRequest, seed: u64) -> Result<Self, Error> {
        let options = OpenOptions {
            val_labels: request.val_labels.clone(),
        };
        let mut dataset = Dataset::open(root, &options)?;
        let name = complete_copy(&dataset);
        // A limit that leaves every image in is none.
        let largest = dataset.train.samples.len().max(dataset.val.samples.len());
        let limit = request.limit.filter(|&limit| limit < largest);
        if let Some(limit) = limit {
            let classes = dataset.classes.len();
            if limit < classes {
                return Err(Error::Usage {
                    message: format!(
                        "--limit {limit} is below the {classes} classes of {}",
                        root.display()
                    ),
                    hint: "a class without train images could not be found: take at least one image a class".to_owned(),
                });
            }
            dataset.train = dataset.train.limited(limit, seed);
            dataset.val = dataset.val.limited(limit, seed);
        }
        Ok(Self {
            root: root.to_owned(),
            name,
            classes: dataset.classes,
            palette: Vec::new(),
            limit,
            train: Some(ImageList::all(dataset.train)),
            val: ImageList::all(dataset.val),
        })
    }

    /// Opens what a protocol looks at below `root`.
    pub fn of(
        root: &Path,
        protocol: &Protocol,
        request: &DataRequest,
        seed: u64,
    ) -> Result<Self, Error> {
        match protocol.masks() {
            Some(masks) => Self::scenes(root, masks, request, seed),
            None => Self::open(root, request, seed),
        }
    }

    /// Opens images with masks below `root`, at most `limit` of each split.
    pub fn scenes(
        root: &Path,
        masks: &MaskSpec,
        request: &DataRequest,
        seed: u64,
    ) -> Result<Self, Error> {
        let set = SegmentationSet::open(root, masks)?;
        let name = set.complete_copy();
        let train = set.train.map(ImageList::scenes);
        let val = ImageList::scenes(set.val);
        let images = |list: &ImageList| list.split.samples.len();
        let largest = train.as_ref().map_or(0, images).max(images(&val));
        let limit = request.limit.filter(|&limit| limit < largest);
        let some = |list: ImageList| match limit {
            Some(limit) => list.some(&list.split.stratified(limit, seed)),
            None => list,
        };
        Ok(Self {
            root: root.to_owned(),
            name,
            classes: set.classes,
            palette: set.palette,
            limit,
            train: train.map(some),
            val: some(val),
        })
    }

    /// Opens a folder of images alone; its subfolders are classes.
    pub fn images(folder: &Path, limit: Option<usize>, seed: u64) -> Result<Self, Error> {
        let (split, classes) = Split::folder(folder)?;
        let limit = limit.filter(|&limit| limit < split.samples.len());
        let split = match limit {
            Some(limit) => split.limited(limit, seed),
            None => split,
        };
        Ok(Self {
            root: folder.to_owned(),
            name: None,
            classes,
            palette: Vec::new(),
            limit,
            train: None,
            val: ImageList::all(split),
        })
    }
}
