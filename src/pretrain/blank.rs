//! Tensors before any training: names, shapes and what they begin as.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::engine::HostTensor;
use crate::nn::{Weights, standard_normal};
use crate::vit::{FinalNorm, RelativeBias, VitConfig, table_rows};

/// Where matrices and tokens begin; biases and tables of relative positions are zero, norms the
/// identity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Initialisation {
    /// Uniform between `±√(6 / (inputs + outputs))`, a kernel as the matrix that it is; tokens normal
    /// of deviation 0.02 (facebookresearch/mae `models_mae.py`, `initialize_weights`).
    Xavier {},
    /// Normal of this deviation, cut at ±2 (microsoft/unilm `beit/modeling_pretrain.py`).
    TruncatedNormal {
        /// Standard deviation.
        std: f64,
        /// Whether the last layers of block `l`, counted from 1, are divided by `√(2 l)`
        /// (`fix_init_weight` there).
        rescale: bool,
    },
}

/// A tensor that nothing has been learned in.
#[derive(Clone, Debug)]
pub(super) struct Blank {
    pub name: String,
    pub shape: Vec<usize>,
    pub begin: Begin,
}

/// What a tensor begins as.
#[derive(Clone, Debug)]
pub(super) enum Begin {
    /// `[outputs, ..]` of a linear layer.
    Matrix,
    /// A token or learned positions.
    Token,
    /// One number.
    Constant(f32),
    /// These numbers.
    Exactly(Vec<f32>),
}

/// Deviation of tokens beside Xavier's matrices.
const TOKEN_STD: f64 = 0.02;

impl Blank {
    pub(super) fn new(name: String, shape: &[usize], begin: Begin) -> Self {
        Self {
            name,
            shape: shape.to_vec(),
            begin,
        }
    }

    pub(super) fn exactly(name: &str, tensor: HostTensor) -> Self {
        Self {
            name: name.to_owned(),
            shape: tensor.shape,
            begin: Begin::Exactly(tensor.data),
        }
    }

    /// Its first numbers, a function of the seed and its name: what stands beside it changes
    /// nothing.
    fn tensor(self, initial: Initialisation, seed: u64) -> (String, HostTensor) {
        let elements: usize = self.shape.iter().product();
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&seed.to_le_bytes())
            .update(self.name.as_bytes());
        let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
        let data = match (self.begin, initial) {
            (Begin::Constant(value), _) => vec![value; elements],
            (Begin::Exactly(data), _) => data,
            (Begin::Matrix, Initialisation::Xavier {}) => {
                let outputs = self.shape.first().copied().unwrap_or(1).max(1);
                let bound = (6.0 / (outputs + elements / outputs) as f64).sqrt();
                let mut number = || bound * (2.0 * unit(&mut rng) - 1.0);
                (0..elements).map(|_| number() as f32).collect()
            }
            (Begin::Token, Initialisation::Xavier {}) => {
                let mut number = || TOKEN_STD * standard_normal(&mut rng);
                (0..elements).map(|_| number() as f32).collect()
            }
            (Begin::Matrix | Begin::Token, Initialisation::TruncatedNormal { std, rescale }) => {
                let divisor = match block_of_last_layer(&self.name) {
                    Some(block) if rescale => (2.0 * (block + 1) as f64).sqrt(),
                    _ => 1.0,
                };
                let mut number = || {
                    loop {
                        let number = std * standard_normal(&mut rng);
                        if number.abs() <= 2.0 {
                            break number / divisor;
                        }
                    }
                };
                (0..elements).map(|_| number() as f32).collect()
            }
        };
        let shape = self.shape;
        (self.name, HostTensor { shape, data })
    }
}

/// Uniform in `[0, 1)`.
fn unit(rng: &mut ChaCha8Rng) -> f64 {
    use rand::RngExt;
    rng.random::<f64>()
}

/// The block of an encoder whose attention or MLP ends with this layer.
fn block_of_last_layer(name: &str) -> Option<usize> {
    let rest = name.strip_prefix("blocks.")?;
    let (block, layer) = rest.split_once('.')?;
    matches!(layer, "attn.proj.weight" | "mlp.fc2.weight")
        .then(|| block.parse().ok())
        .flatten()
}

/// All tensors as they begin.
pub(super) fn initial_weights(blanks: Vec<Blank>, initial: Initialisation, seed: u64) -> Weights {
    let mut weights = Weights::default();
    for blank in blanks {
        let (name, tensor) = blank.tensor(initial, seed);
        weights.insert(name, tensor);
    }
    weights
}

/// Weight and bias of a norm.
pub(super) fn norm_blanks(name: &str, width: usize) -> [Blank; 2] {
    [("weight", 1.0), ("bias", 0.0)]
        .map(|(part, value)| Blank::new(format!("{name}.{part}"), &[width], Begin::Constant(value)))
}

/// The blocks below `prefix`, and the table that they share.
pub(super) fn encoder_blanks(prefix: &str, config: &VitConfig) -> Vec<Blank> {
    let (width, hidden) = (config.width, config.mlp_width);
    let mut blanks = Vec::new();
    let table = |place: String, heads: usize| {
        let shape = [table_rows(config.grid), heads];
        Blank::new(
            format!("{place}.relative_position_bias_table"),
            &shape,
            Begin::Constant(0.0),
        )
    };
    if matches!(
        config.relative_bias,
        Some(RelativeBias::Shared | RelativeBias::Both)
    ) {
        blanks.push(table(format!("{prefix}rel_pos_bias"), config.heads.of(0)));
    }
    for block in 0..config.depth {
        let own = format!("{prefix}blocks.{block}");
        for norm in ["norm1", "norm2"] {
            blanks.extend(norm_blanks(&format!("{own}.{norm}"), width));
        }
        for (layer, outputs, inputs, bias) in [
            ("attn.qkv", 3 * width, width, config.qkv_bias),
            ("attn.proj", width, width, true),
            ("mlp.fc1", hidden, width, true),
            ("mlp.fc2", width, hidden, true),
        ] {
            let layer = format!("{own}.{layer}");
            let matrix = format!("{layer}.weight");
            blanks.push(Blank::new(matrix, &[outputs, inputs], Begin::Matrix));
            if bias {
                let bias = format!("{layer}.bias");
                blanks.push(Blank::new(bias, &[outputs], Begin::Constant(0.0)));
            }
        }
        if matches!(
            config.relative_bias,
            Some(RelativeBias::PerBlock | RelativeBias::Both)
        ) {
            blanks.push(table(format!("{own}.attn"), config.heads.of(block)));
        }
    }
    blanks
}

/// What a plain ViT has beside its blocks: patches, class token and the last norm; positions and
/// scales of branches are the recipe's.
pub(super) fn frame_blanks(config: &VitConfig) -> Vec<Blank> {
    let (width, patch) = (config.width, config.patch_size);
    let mut blanks = vec![
        Blank::new(
            "patch_embed.proj.weight".to_owned(),
            &[width, config.channels, patch, patch],
            Begin::Matrix,
        ),
        Blank::new(
            "patch_embed.proj.bias".to_owned(),
            &[width],
            Begin::Constant(0.0),
        ),
    ];
    if config.class_token {
        let name = "cls_token".to_owned();
        blanks.push(Blank::new(name, &[1, 1, width], Begin::Token));
    }
    if config.final_norm == FinalNorm::Tokens {
        blanks.extend(norm_blanks("norm", width));
    }
    blanks
}

/// Base of the wavelengths.
const WAVELENGTHS: f64 = 10_000.0;

/// Fixed positions of sines and cosines, the first half of a token's numbers for its column and the
/// second for its row; zeros for the tokens before the patches (facebookresearch/mae
/// `util/pos_embed.py`, whose grid has columns first).
///
/// -> `[1, prefix + h w, D]`, D a multiple of 4
pub fn sin_cos_positions(width: usize, grid: [usize; 2], prefix: usize) -> HostTensor {
    let [rows, columns] = grid;
    let quarter = width / 4;
    let mut data = vec![0.0; prefix * width];
    for row in 0..rows {
        for column in 0..columns {
            for place in [column, row] {
                let angle = |i: usize| {
                    let frequency = WAVELENGTHS.powf(-(i as f64) / quarter as f64);
                    place as f64 * frequency
                };
                data.extend((0..quarter).map(|i| angle(i).sin() as f32));
                data.extend((0..quarter).map(|i| angle(i).cos() as f32));
            }
        }
    }
    HostTensor {
        shape: vec![1, prefix + rows * columns, width],
        data,
    }
}
