//! Colours of classes.

use super::ade20k;

/// ADE20K's colours for its classes, and others for others.
pub(super) fn of(classes: &[String]) -> Vec<[u8; 3]> {
    let names = classes.iter().map(String::as_str);
    if names.eq(ade20k::CLASSES.map(|(name, _)| name)) {
        return ade20k::CLASSES.map(|(_, colour)| colour).to_vec();
    }
    (0..classes.len()).map(spread).collect()
}

/// The colour of PASCAL VOC's scheme, which gives the bits of a number to red, green and blue in
/// turn, high bits first (VOC development kit, `VOClabelcolormap.m`). Its number 0 is black, which
/// is left to pixels without a class.
fn spread(class: usize) -> [u8; 3] {
    let number = class + 1;
    std::array::from_fn(|channel| {
        let bit = |place: usize| ((number >> (3 * place + channel)) & 1) << (7 - place);
        (0..8).map(bit).sum::<usize>() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_differ_and_none_is_black() {
        let names: Vec<String> = (0..1000).map(|class| class.to_string()).collect();
        let colours = of(&names);
        let different: std::collections::BTreeSet<_> = colours.iter().collect();
        assert_eq!(different.len(), 1000);
        assert!(!colours.contains(&[0; 3]));
        // Aeroplane, bicycle and bird.
        assert_eq!(colours[..3], [[128, 0, 0], [0, 128, 0], [128, 128, 0]]);
    }
}
