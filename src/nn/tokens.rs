//! Tokens chosen sample by sample.

use crate::engine::{Engine, EngineError, Result};

/// The first `prefix` tokens of every sample, then those at its own places after them.
///
/// tokens: `[B, P + M, D]`; places: `[B, N]` row-major, each below M -> `[B, P + N, D]`
pub fn select_tokens<E: Engine>(
    engine: &E,
    tokens: &E::Tensor,
    prefix: usize,
    places: &[u32],
) -> Result<E::Tensor> {
    let shape = engine.shape(tokens);
    let &[batch, each, width] = shape.as_slice() else {
        return Err(unfit(format!("tokens of shape {shape:?}")));
    };
    let patches = each.saturating_sub(prefix);
    if batch == 0 || !places.len().is_multiple_of(batch) {
        return Err(unfit(format!(
            "{} places for {batch} samples",
            places.len()
        )));
    }
    if let Some(place) = places.iter().find(|&&place| place as usize >= patches) {
        return Err(unfit(format!("place {place} of {patches}")));
    }
    let count = places.len() / batch;
    let mut rows = Vec::with_capacity(batch * (prefix + count));
    for sample in 0..batch {
        let first = (sample * each) as u32;
        let patch = first + prefix as u32;
        rows.extend(first..patch);
        let own = &places[sample * count..(sample + 1) * count];
        rows.extend(own.iter().map(|place| patch + place));
    }
    let flat = engine.reshape(tokens, &[batch * each, width])?;
    let chosen = engine.index_select(&flat, 0, &rows)?;
    engine.reshape(&chosen, &[batch, prefix + count, width])
}

fn unfit(message: String) -> EngineError {
    EngineError {
        op: "select_tokens",
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::select_tokens;
    use crate::engine::candle::Candle;
    use crate::engine::{Engine, Precision};

    #[test]
    fn places_are_each_samples_own() {
        let engine = Candle::new(Precision::F32);
        // Two samples of a class token and three patches, of width 1.
        let tokens = [0.0f32, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        let tokens = engine.tensor(&tokens[..], &[2, 4, 1]).unwrap();
        let chosen = select_tokens(&engine, &tokens, 1, &[2, 0, 1, 2]).unwrap();
        assert_eq!(engine.shape(&chosen), [2, 3, 1]);
        let found = engine.to_f32(&chosen).unwrap();
        assert_eq!(found, [0.0, 3.0, 1.0, 10.0, 12.0, 13.0]);
        for (places, said) in [(&[0, 1, 2][..], "2 samples"), (&[0, 3], "place 3 of 3")] {
            let error = select_tokens(&engine, &tokens, 1, places).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
