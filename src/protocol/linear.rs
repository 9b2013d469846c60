//! Linear probes: heads by input and learning rate.

use super::classification::Head;
use crate::decoders::ProbeInput;

/// Every learning rate over every input.
pub fn heads(inputs: &[ProbeInput], learning_rates: &[f64]) -> Vec<Head> {
    let several = learning_rates.len() > 1;
    let head = |(input, of): (usize, &ProbeInput), learning_rate: f64| Head {
        name: match several {
            true => format!("{of} lr {learning_rate}"),
            false => of.to_string(),
        },
        input,
        layer: of.layer(),
        learning_rate: Some(learning_rate),
    };
    let of_input = |(input, of)| {
        learning_rates
            .iter()
            .map(move |&rate| head((input, of), rate))
    };
    inputs.iter().enumerate().flat_map(of_input).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Token;

    fn input(block: usize) -> ProbeInput {
        ProbeInput {
            blocks: vec![block],
            token: Token::Concat,
            norm: false,
        }
    }

    #[test]
    fn several_rates_are_told_apart_by_name() {
        let rates = heads(&[input(3)], &[0.1, 0.01]);
        assert_eq!(rates[1].name, "block 3 concat raw lr 0.01");
    }

    #[test]
    fn rates_that_are_nearly_equal_have_names_of_their_own() {
        let near = [0.1, 0.100000001];
        assert_eq!(near[0] as f32, near[1] as f32);
        let names = heads(&[input(3)], &near).into_iter().map(|head| head.name);
        assert!(names.eq([
            "block 3 concat raw lr 0.1",
            "block 3 concat raw lr 0.100000001"
        ]));
    }
}
