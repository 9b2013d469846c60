//! To which size an image is brought with its ratio kept.

/// Scales that are random or of several views: both sides times a factor, cut to whole pixels
/// (mmsegmentation `datasets/pipelines/transforms.py`, `Resize.random_sample_ratio`).
pub(super) fn scaled([long, short]: [usize; 2], ratio: f64) -> [usize; 2] {
    [long, short].map(|side| (side as f64 * ratio) as usize)
}

/// Height and width of an image of this height and width after it is made as large as fits `scale`,
/// whose larger number bounds the longer side (mmcv `image/geometric.py`, `rescale_size`).
///
/// mmcv fails where a side would have no pixel; here it keeps one.
pub(super) fn rescaled(scale: [usize; 2], size: [usize; 2]) -> [usize; 2] {
    let [one, other] = scale;
    let (long, short) = (one.max(other) as f64, one.min(other) as f64);
    let [height, width] = size;
    let factor = (long / height.max(width) as f64).min(short / height.min(width) as f64);
    size.map(|side| ((side as f64 * factor + 0.5) as usize).max(1))
}

/// The same for one of several scales, for windows of `least` pixels: the shorter side is that of the
/// scale, but no shorter than a window, and nothing bounds the longer (microsoft/unilm
/// `beit/semantic_segmentation/mmcv_custom/resize_transform.py`, `SETR_Resize` with
/// `setr_multi_scale`).
pub(super) fn rescaled_over(scale: [usize; 2], least: usize, size: [usize; 2]) -> [usize; 2] {
    let [one, other] = scale;
    let [height, width] = size;
    let factor = one.min(other).max(least) as f64 / height.min(width) as f64;
    size.map(|side| (side as f64 * factor + 0.5) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_mmcv() {
        // Expectations are mmcv's arithmetic in Python.
        assert_eq!(rescaled([2048, 512], [512, 683]), [512, 683]);
        assert_eq!(rescaled([2048, 512], [364, 500]), [512, 703]);
        assert_eq!(rescaled([2048, 512], [300, 400]), [512, 683]);
        assert_eq!(rescaled([512, 2048], [400, 300]), [683, 512]);
        assert_eq!(rescaled([2048, 512], [100, 900]), [228, 2048]);
        assert_eq!(rescaled([2048, 512], [1, 10_000]), [1, 2048]);
        assert_eq!(rescaled_over([1024, 256], 512, [512, 683]), [512, 683]);
        assert_eq!(rescaled_over([1024, 256], 512, [300, 400]), [512, 683]);
        assert_eq!(rescaled_over([3072, 768], 512, [364, 500]), [768, 1055]);
        assert_eq!(rescaled_over([3072, 768], 512, [100, 900]), [768, 6912]);
        assert_eq!(scaled([2048, 512], 1.37), [2805, 701]);
        assert_eq!(scaled([2048, 512], 0.5), [1024, 256]);
    }
}
