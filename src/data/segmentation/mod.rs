//! Images with a class a pixel: folders of images and index masks, and how they become a network's
//! inputs, as mmsegmentation 0.x does it through OpenCV.
//!
//! [`SegmentationSet`] pairs images with masks, [`MaskSpec`] says what a mask's values mean.
//! [`CropPreparation`] makes training crops ([`SceneAugment`] is what may happen to a scene,
//! [`SceneDraw`] what does, [`CropMaker`] carries it out), [`WholePreparation`] makes the views that
//! an evaluation sees, and [`load_scenes`] runs either on threads, in order. Once its parameters are
//! drawn, a crop's bytes and labels are those of mmsegmentation.
//!
//! # Orientation
//! mmcv reads images by `cv2.imdecode`, which turns them as their EXIF tag says, and masks by Pillow,
//! which does not. So it is here; a mask that then has another size than its image is refused by name.

mod ade20k;
mod bilinear;
mod class_names;
mod crop;
mod distortion;
mod draw;
mod error;
mod hsv;
mod label_map;
mod layout;
mod loading;
mod mask_spec;
mod nearest;
mod orientation;
mod palette;
mod preparation;
mod rescale;
mod scene;
mod set;
mod spec;
mod whole;

pub use bilinear::BilinearResizer;
pub use crop::{CropMaker, SceneCrop};
pub use distortion::Distortion;
pub use draw::SceneDraw;
pub use error::SegmentationDataError;
pub use hsv::{hsv_to_rgb, rgb_to_hsv};
pub use label_map::{IGNORED_LABEL, LabelMap};
pub use loading::{LoadedScene, ScenesInOrder, load_scenes};
pub use mask_spec::MaskSpec;
pub use preparation::{CropPreparation, ScenePreparation, WholePreparation};
pub use scene::EncodedScene;
pub use set::{Scenes, SegmentationSet, scene_content};
pub use spec::SceneAugment;
pub use whole::{SceneView, WholeMaker, WholeScene};
