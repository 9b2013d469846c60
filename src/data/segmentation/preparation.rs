//! The ways from a scene's files to what a network takes.

use super::whole::WholeMaker;
use super::{
    CropMaker, EncodedScene, MaskSpec, SceneAugment, SceneCrop, SegmentationDataError, WholeScene,
};
use crate::data::augment::SampleKey;
use crate::data::{InputSpec, Limits, Pick};

/// How a pass makes inputs of scenes.
pub trait ScenePreparation: Sync {
    /// What it makes.
    type Scene: Send;
    /// The buffers of one thread.
    type Maker: Send;

    /// What one thread does this with.
    ///
    /// # Errors
    /// When a value makes no sense.
    fn maker(&self) -> Result<Self::Maker, SegmentationDataError>;

    /// Makes one scene.
    ///
    /// # Errors
    /// When a file cannot be used.
    fn make(
        &self,
        maker: &mut Self::Maker,
        scene: &EncodedScene,
        pick: Pick,
    ) -> Result<Self::Scene, SegmentationDataError>;
}

/// As training does: a crop, another one every pass.
#[derive(Clone, Debug, PartialEq)]
pub struct CropPreparation {
    /// What the model takes: of it the channels, mean and std.
    pub input: InputSpec,
    /// What masks mean.
    pub masks: MaskSpec,
    /// What happens to scenes on the way.
    pub augment: SceneAugment,
    /// The run's seed.
    pub seed: u64,
}

impl ScenePreparation for CropPreparation {
    type Scene = SceneCrop;
    type Maker = CropMaker;

    fn maker(&self) -> Result<CropMaker, SegmentationDataError> {
        let (augment, masks) = (self.augment.clone(), self.masks.clone());
        CropMaker::new(augment, masks, &self.input, Limits::default())
    }

    fn make(
        &self,
        maker: &mut CropMaker,
        scene: &EncodedScene,
        pick: Pick,
    ) -> Result<SceneCrop, SegmentationDataError> {
        let key = SampleKey {
            seed: self.seed,
            pass: pick.pass as u64,
            index: pick.index as u64,
        };
        maker.apply(scene, key)
    }
}

/// As evaluation does: the whole image, the same every time.
#[derive(Clone, Debug, PartialEq)]
pub struct WholePreparation {
    /// What the model takes: of it the channels, mean and std.
    pub input: InputSpec,
    /// What masks mean.
    pub masks: MaskSpec,
    /// What images are made to fit, longer and shorter side in pixels.
    pub scale: [usize; 2],
    /// Factors of `scale`, one a view: `[1.0]` but for several scales.
    pub ratios: Vec<f64>,
    /// Whether every view has its mirror image behind it.
    pub flip: bool,
    /// Side of the windows, pixels: of several scales none is smaller.
    pub window: usize,
}

impl ScenePreparation for WholePreparation {
    type Scene = WholeScene;
    type Maker = WholeMaker;

    fn maker(&self) -> Result<WholeMaker, SegmentationDataError> {
        WholeMaker::new(self.clone())
    }

    fn make(
        &self,
        maker: &mut WholeMaker,
        scene: &EncodedScene,
        _pick: Pick,
    ) -> Result<WholeScene, SegmentationDataError> {
        maker.apply(scene)
    }
}
