//! The tensors of a file for timm, and how each is made of the model's.

use super::architecture::Architecture;
use super::call::Call;
use super::class::Class;
use super::model::Held;
use super::value::Value::Flag;
use crate::engine::HostTensor;
use crate::nn::WeightError;

/// How a tensor is made of canonical ones.
#[derive(Clone, Debug)]
enum Make {
    Same(String),
    /// The rows of queries, keys or values of a packed projection.
    Third(String, usize),
    /// Rows of the first, then of the second.
    Joined([String; 2]),
    /// The class token and its row of the position table.
    PlacedClassToken,
    /// The position table without the class token's row.
    PatchPositions,
    Zeros,
}

/// A tensor to be written.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub name: String,
    pub shape: Vec<usize>,
    make: Make,
}

/// The tensors that the model of a call has, sorted by name.
pub(super) fn plan(
    weights: &dyn Held,
    architecture: &Architecture,
    call: &Call,
) -> Result<Vec<Planned>, WeightError> {
    let names = Names::new(architecture, call);
    let mut planned = Vec::new();
    for name in weights.names() {
        names.plan(&name, weights.shape(&name)?, &mut planned);
    }
    planned.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(planned)
}

/// What decides how a class calls its parameters.
struct Names {
    class: Class,
    folded: bool,
    /// Whether the gate and the value of an MLP are one matrix.
    packed: bool,
    /// Whether queries, keys and values are.
    fused: bool,
    /// Whether keys have a bias.
    key_bias: bool,
}

impl Names {
    fn new(architecture: &Architecture, call: &Call) -> Self {
        let class = architecture.class;
        let norm = architecture.value("scale_mlp") == Some(Flag(true));
        let pads = call.named.value("swiglu_align_to") != class.default("swiglu_align_to");
        Self {
            class,
            folded: architecture.folded,
            packed: match class {
                Class::VisionTransformer | Class::Distilled => true,
                Class::Beit => false,
                Class::Eva => !norm && !pads,
            },
            fused: class != Class::Eva || call.named.value("qkv_fused") == Some(Flag(true)),
            key_bias: match class {
                Class::VisionTransformer | Class::Distilled => true,
                Class::Beit => false,
                Class::Eva => architecture.value("attn_type").is_some(),
            },
        }
    }

    /// What becomes of a canonical tensor; a part of another is planned with that one.
    fn plan(&self, name: &str, shape: Vec<usize>, planned: &mut Vec<Planned>) {
        let mut add = |name: String, shape: Vec<usize>, make: Make| {
            planned.push(Planned { name, shape, make });
        };
        let rows = |times: usize, over: usize| {
            let mut shape = shape.clone();
            shape[0] = shape[0] * times / over;
            shape
        };
        let own = || Make::Same(name.to_owned());
        let third = |part| Make::Third(name.to_owned(), part);
        let (block, layer) = match name.rfind(".attn.").or_else(|| name.rfind(".mlp.")) {
            Some(at) => name.split_at(at + 1),
            None => ("", name),
        };
        match layer {
            "attn.qkv.weight" if !self.fused => {
                for (part, letter) in ["q", "k", "v"].into_iter().enumerate() {
                    let name = format!("{block}attn.{letter}_proj.weight");
                    add(name, rows(1, 3), third(part));
                }
            }
            "attn.qkv.bias" if !self.fused => {
                let parts = [("q", 0), ("k", 1), ("v", 2)];
                for (letter, part) in parts.into_iter().filter(|&(_, i)| i != 1 || self.key_bias) {
                    let name = format!("{block}attn.{letter}_proj.bias");
                    add(name, rows(1, 3), third(part));
                }
            }
            "attn.qkv.bias" if !self.key_bias => {
                for (letter, part) in [("q", 0), ("v", 2)] {
                    let name = format!("{block}attn.{letter}_bias");
                    add(name, rows(1, 3), third(part));
                }
            }
            "mlp.fc1_g.weight" | "mlp.fc1_g.bias" if self.packed => {
                let joined = [name.to_owned(), name.replace("fc1_g", "fc1_x")];
                add(
                    name.replace("fc1_g", "fc1"),
                    rows(2, 1),
                    Make::Joined(joined),
                );
            }
            "mlp.fc1_x.weight" | "mlp.fc1_x.bias" if self.packed => {}
            "cls_token" if self.folded => add(name.to_owned(), shape, Make::PlacedClassToken),
            "pos_embed" if self.folded => {
                let shape = vec![shape[0], shape[1] - 1, shape[2]];
                add(name.to_owned(), shape, Make::PatchPositions);
            }
            "projection.weight" => {
                add("head.bias".to_owned(), vec![shape[0]], Make::Zeros);
                add("head.weight".to_owned(), shape, own());
            }
            // A function of the grid to timm.
            "rope_embed.periods" => {}
            _ => add(self.renamed(name), shape, own()),
        }
    }

    fn renamed(&self, name: &str) -> String {
        match self.class {
            Class::VisionTransformer | Class::Distilled => name.to_owned(),
            Class::Beit | Class::Eva => name
                .replace(".ls1.gamma", ".gamma_1")
                .replace(".ls2.gamma", ".gamma_2"),
        }
    }
}

impl Planned {
    /// Its elements.
    pub(super) fn elements(&self, weights: &dyn Held) -> Result<Vec<f32>, WeightError> {
        let third = |tensor: HostTensor, part: usize| {
            let count = tensor.data.len() / 3;
            tensor.data[part * count..(part + 1) * count].to_vec()
        };
        Ok(match &self.make {
            Make::Same(name) => weights.tensor(name)?.data,
            Make::Third(name, part) => third(weights.tensor(name)?, *part),
            Make::Joined([first, second]) => {
                let mut data = weights.tensor(first)?.data;
                data.extend(weights.tensor(second)?.data);
                data
            }
            Make::PlacedClassToken => {
                let positions = weights.tensor("pos_embed")?.data;
                let token = weights.tensor("cls_token")?.data;
                token.iter().zip(&positions).map(|(a, b)| a + b).collect()
            }
            Make::PatchPositions => {
                let tensor = weights.tensor("pos_embed")?;
                tensor.data[tensor.shape[2]..].to_vec()
            }
            Make::Zeros => vec![0.0; self.shape.iter().product()],
        })
    }
}
