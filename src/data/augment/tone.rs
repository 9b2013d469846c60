//! Changes that give every byte of a channel another, as Pillow 13 makes them (`ImageOps.py`).

/// What every byte becomes.
pub(super) type Table = [u8; 256];

/// Gives every channel the same table.
pub(super) fn apply(table: &Table, bytes: &mut [u8]) {
    for byte in bytes {
        *byte = table[usize::from(*byte)];
    }
}

/// Gives every channel the table that its own bytes ask for, if they ask for one.
///
/// bytes: `[H, W, C]`
fn apply_by_histogram<const C: usize>(table: fn(&Histogram) -> Option<Table>, bytes: &mut [u8]) {
    let (pixels, _) = bytes.as_chunks_mut::<C>();
    let mut histograms = [[0; 256]; C];
    for pixel in &*pixels {
        for (histogram, &byte) in histograms.iter_mut().zip(pixel) {
            histogram[usize::from(byte)] += 1;
        }
    }
    let tables = histograms.map(|histogram| {
        table(&histogram).unwrap_or_else(|| std::array::from_fn(|byte| byte as u8))
    });
    for pixel in pixels {
        for (table, byte) in tables.iter().zip(pixel) {
            *byte = table[usize::from(*byte)];
        }
    }
}

/// 255 less the byte.
pub(super) fn invert() -> Table {
    std::array::from_fn(|byte| 255 - byte as u8)
}

/// Keeps the highest bits. Of 0 bits nothing is left: an error in Pillow since 13, black before.
pub(super) fn posterize(bits: u32) -> Table {
    let dropped = 8_u32.saturating_sub(bits);
    std::array::from_fn(|byte| (byte >> dropped << dropped) as u8)
}

/// Inverts bytes from `threshold` on.
pub(super) fn solarize(threshold: u32) -> Table {
    std::array::from_fn(|byte| {
        if (byte as u32) < threshold {
            byte as u8
        } else {
            255 - byte as u8
        }
    })
}

/// Adds to bytes below 128 (`solarize_add`, timm `data/auto_augment.py`).
pub(super) fn solarize_add(add: u8) -> Table {
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        if byte < 128 {
            byte.saturating_add(add)
        } else {
            byte
        }
    })
}

/// How often every byte occurs in a channel.
type Histogram = [u64; 256];

/// Stretches the bytes that occur in each channel from 0 to 255.
pub(super) fn auto_contrast<const C: usize>(bytes: &mut [u8]) {
    apply_by_histogram::<C>(stretched, bytes);
}

/// Makes the bytes that occur in each channel about equally frequent.
pub(super) fn equalize<const C: usize>(bytes: &mut [u8]) {
    apply_by_histogram::<C>(equalized, bytes);
}

/// `autocontrast`, Pillow `ImageOps.py`.
fn stretched(histogram: &Histogram) -> Option<Table> {
    let least = histogram.iter().position(|&count| count > 0)?;
    let most = histogram.iter().rposition(|&count| count > 0)?;
    if most <= least {
        return None;
    }
    let scale = 255.0 / (most - least) as f64;
    let offset = -(least as f64) * scale;
    // The cast truncates and stops at 0 and 255, as Pillow does.
    Some(std::array::from_fn(|byte| {
        (byte as f64 * scale + offset) as u8
    }))
}

/// `equalize`, Pillow `ImageOps.py`.
fn equalized(histogram: &Histogram) -> Option<Table> {
    let last = histogram.iter().rposition(|&count| count > 0)?;
    // Where one byte alone occurs, none lies before the last, and the step is 0 as well.
    let step = histogram[..last].iter().sum::<u64>() / 255;
    if step == 0 {
        return None;
    }
    let mut before = step / 2;
    Some(std::array::from_fn(|byte| {
        let level = before / step;
        before += histogram[byte];
        level.min(255) as u8
    }))
}
