//! The call that loads a file in timm.

use std::path::Path;

use super::architecture::Architecture;
use super::class::Class;
use super::named::{NAMED, Named};
use super::value::Value::{self, Count, Flag, Number, Sides, Text};

/// A name of timm's and the arguments that it does not already stand for.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub named: Named,
    arguments: Vec<String>,
    imports: Vec<&'static str>,
}

impl Call {
    /// The shortest call that builds an architecture.
    pub(super) fn shortest(architecture: &Architecture) -> Option<Self> {
        NAMED
            .iter()
            .filter(|named| named.class == architecture.class)
            .filter_map(|named| Self::new(*named, architecture))
            .min_by_key(|call| call.arguments.len())
    }

    /// The call by this name, where arguments can make of it what is wanted.
    fn new(named: Named, architecture: &Architecture) -> Option<Self> {
        let mut call = Self {
            named,
            arguments: Vec::new(),
            imports: Vec::new(),
        };
        let wanted = |name| architecture.value(name);
        // The packed gate of timm's has no room for padding: a name that pads has its own layers.
        if let (Some(Count(align @ 1..)), Some(Flag(gated)), Some(Count(width))) = (
            named.value("swiglu_align_to"),
            wanted("swiglu_mlp"),
            wanted("mlp_width"),
        ) && (!gated || width % align != 0)
        {
            return None;
        }
        for &(argument, value) in &architecture.wanted {
            let has = match named.value(argument) {
                // By default the norm stands behind the mean.
                None if argument == named.class.pooled_norm() => {
                    Some(Flag(wanted("global_pool") == Some(Text("avg"))))
                }
                has => has,
            };
            // A packed gate has both its layers in one, whose width is that of the MLP.
            let packs = wanted("packed_gate") == Some(Flag(true))
                && named.value("packed_gate") != Some(Flag(true));
            if has != Some(value) || packs && argument == "mlp_width" {
                call.push(argument, value, architecture)?;
            }
        }
        Some(call)
    }

    fn push(
        &mut self,
        argument: &'static str,
        value: Value,
        architecture: &Architecture,
    ) -> Option<()> {
        let written = match (argument, value) {
            ("norm_eps", Number(_)) => {
                self.imports.push("from functools import partial");
                self.imports.push("from timm.layers import LayerNorm");
                format!("norm_layer=partial(LayerNorm, eps={value})")
            }
            // timm leaves out arguments that are None, and Eva makes scales of zeros.
            ("layer_scale", Flag(false)) if self.named.class == Class::Eva => return None,
            ("layer_scale", Flag(false)) => "init_values=0".to_owned(),
            ("packed_gate", Flag(false)) => return None,
            ("layer_scale", _) => "init_values=1e-05".to_owned(),
            ("packed_gate", _) => {
                self.imports.push("from timm.layers import SwiGLUPacked");
                "mlp_layer=SwiGLUPacked".to_owned()
            }
            ("mlp_width", Count(hidden)) => {
                let Some(Count(width)) = architecture.value("embed_dim") else {
                    return None;
                };
                let packed = architecture.value("packed_gate") == Some(Flag(true));
                let hidden = if packed { 2 * hidden } else { hidden };
                format!("mlp_ratio={}", Number(ratio(hidden, width)))
            }
            ("ref_feat_shape", Sides([rows, columns])) => {
                format!("ref_feat_shape=({rows}, {columns})")
            }
            _ => format!("{argument}={value}"),
        };
        self.arguments.push(written);
        Some(())
    }

    /// Python that builds the model with the weights at `path`.
    pub(super) fn python(&self, path: &Path) -> String {
        let mut imports = self.imports.clone();
        imports.push("import timm");
        // Modules of Python's own come first.
        imports.sort_by_key(|line| (!line.contains("functools"), line.starts_with("from")));
        let mut lines = imports.join("\n");
        // JSON's strings are Python's.
        let path = serde_json::Value::from(path.to_string_lossy().into_owned());
        let mut arguments = vec![format!("\"{}\"", self.named.name)];
        arguments.extend(self.arguments.iter().cloned());
        arguments.push(format!("checkpoint_path={path}"));
        let arguments = arguments.join(", ");
        lines.push_str(&format!(
            "\nmodel = timm.create_model({arguments}).eval()\n"
        ));
        lines
    }
}

/// A ratio that timm's `int(width * ratio)` makes `hidden` of.
fn ratio(hidden: usize, width: usize) -> f64 {
    let ratio = hidden as f64 / width as f64;
    if (width as f64 * ratio) as usize == hidden {
        ratio
    } else {
        ratio.next_up()
    }
}

#[cfg(test)]
mod tests {
    use super::ratio;

    #[test]
    fn a_ratio_gives_the_width_back() {
        for width in 1..200 {
            for hidden in 1..2000 {
                let found = (width as f64 * ratio(hidden, width)) as usize;
                assert_eq!(found, hidden, "{width}");
            }
        }
    }
}
