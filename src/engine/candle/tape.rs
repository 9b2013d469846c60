//! A small tape over candle's tensors.
//!
//! candle's own custom operations take three inputs and hand the backward pass no saved state, so
//! that an MLP or attention with a learned bias does not fit; its tape starts every gradient from
//! zeros and keeps all that was saved to the end. Here an operation is a value and a closure that
//! owns what its gradient needs, runs once and lets it go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Result, bail};

use super::arithmetic::sum_of;

/// A candle tensor, which here never keeps a graph of its own.
pub(super) type Value = candle_core::Tensor;

/// Gradients of an operation's parents, in their order; `None` where none is needed.
pub(super) type Gradients = Vec<Option<Value>>;

/// From the gradient of an operation's output to those of its parents.
type Backward = Box<dyn FnOnce(Value) -> Result<Gradients> + Send>;

/// A value on the candle engine and, where a parameter had a part in it, its place on the tape.
#[derive(Clone)]
pub struct Tensor {
    pub(super) value: Value,
    node: Option<Arc<Node>>,
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// An operation on the tape. Parents have smaller ids than what is computed from them.
struct Node {
    id: u64,
    parents: Vec<Option<Arc<Node>>>,
    step: Mutex<Step>,
    /// How often a parameter's values have changed.
    changes: AtomicU64,
    /// The sum of `changes` over the parents when this was computed.
    seen: u64,
}

/// What the backward pass does at a node.
enum Step {
    /// A parameter: nothing lies behind it.
    Leaf,
    Operation(Backward),
    /// The closure has run, and what it had saved is gone.
    Used,
}

impl Node {
    fn new(parents: Vec<Option<Arc<Node>>>, step: Step) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            seen: changes(&parents),
            parents,
            step: Mutex::new(step),
            changes: AtomicU64::new(0),
        })
    }

    /// The closure of an operation, taken out; `None` of a leaf.
    fn take(&self) -> Result<Option<Backward>> {
        if changes(&self.parents) != self.seen {
            bail!("a parameter was changed after this graph was made")
        }
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *step, Step::Used) {
            Step::Leaf => {
                *step = Step::Leaf;
                Ok(None)
            }
            Step::Operation(backward) => Ok(Some(backward)),
            Step::Used => bail!("an earlier call used this graph up"),
        }
    }
}

/// Changes of all parents together; they only grow.
fn changes(parents: &[Option<Arc<Node>>]) -> u64 {
    let changes = |node: &Arc<Node>| node.changes.load(Ordering::Relaxed);
    parents.iter().flatten().map(changes).sum()
}

impl Tensor {
    /// A value without a graph.
    pub(super) fn constant(value: Value) -> Self {
        Self { value, node: None }
    }

    /// A value that gradients can be asked for.
    pub(super) fn leaf(value: Value) -> Self {
        Self {
            value,
            node: Some(Node::new(Vec::new(), Step::Leaf)),
        }
    }

    /// What an operation computed from `parents`. `backward` gives one gradient a parent; it is
    /// dropped at once where no parent is on the tape.
    pub(super) fn computed<const N: usize>(
        value: Value,
        parents: [&Self; N],
        backward: impl FnOnce(Value) -> Result<[Option<Value>; N]> + Send + 'static,
    ) -> Self {
        Self::joined(value, &parents, move |gradient| {
            Ok(backward(gradient)?.into())
        })
    }

    /// [`Tensor::computed`] for any number of parents.
    pub(super) fn joined(
        value: Value,
        parents: &[&Self],
        backward: impl FnOnce(Value) -> Result<Gradients> + Send + 'static,
    ) -> Self {
        if !parents.iter().any(|parent| parent.tracked()) {
            return Self::constant(value);
        }
        let parents = parents.iter().map(|parent| parent.node.clone()).collect();
        let node = Node::new(parents, Step::Operation(Box::new(backward)));
        Self {
            value,
            node: Some(node),
        }
    }

    /// Notes that a parameter's values are not those that earlier operations saw.
    pub(super) fn changed(&self) {
        if let Some(node) = &self.node {
            node.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a gradient can reach a parameter through this tensor.
    pub(super) fn tracked(&self) -> bool {
        self.node.is_some()
    }
}

/// Gradients of a scalar with respect to `inputs`; `None` where it does not depend on one.
pub(super) fn gradients(loss: &Tensor, inputs: &[&Tensor]) -> Result<Gradients> {
    if loss.value.elem_count() != 1 {
        bail!("the loss must be a scalar, got {:?}", loss.value.dims());
    }
    let id = |input: &&Tensor| input.node.as_ref().map(|node| node.id);
    let wanted: BTreeSet<u64> = inputs.iter().filter_map(id).collect();
    let mut found = BTreeMap::new();
    let mut pending = BTreeMap::new();
    if let Some(node) = &loss.node {
        pending.insert(node.id, (node.clone(), loss.value.ones_like()?));
    }
    // From the youngest on, every node is complete when its turn comes.
    while let Some((id, (node, gradient))) = pending.pop_last() {
        if wanted.contains(&id) {
            found.insert(id, gradient.clone());
        }
        let Some(backward) = node.take()? else {
            continue;
        };
        for (parent, gradient) in node.parents.iter().zip(backward(gradient)?) {
            let (Some(parent), Some(mut gradient)) = (parent, gradient) else {
                continue;
            };
            if let Some((_, earlier)) = pending.remove(&parent.id) {
                gradient = sum_of(&earlier, &gradient)?;
            }
            pending.insert(parent.id, (parent.clone(), gradient));
        }
    }
    let gradient = |input| id(input).and_then(|id| found.get(&id).cloned());
    Ok(inputs.iter().map(gradient).collect())
}
