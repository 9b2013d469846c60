//! The AdamW step.

use crate::engine::AdamW;

/// One step over one parameter, in place (PyTorch, `torch/optim/adamw.py`).
///
/// All slices have the parameter's length.
pub fn adamw(
    settings: &AdamW,
    parameter: &mut [f32],
    gradient: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
) {
    let [beta1, beta2] = settings.betas;
    let keep = (1.0 - settings.learning_rate * settings.weight_decay) as f32;
    let step = (settings.learning_rate / (1.0 - beta1.powf(settings.step.into()))) as f32;
    let root = (1.0 - beta2.powf(settings.step.into())).sqrt() as f32;
    let (beta1, beta2, eps) = (beta1 as f32, beta2 as f32, settings.eps as f32);
    for (((p, g), m), v) in parameter.iter_mut().zip(gradient).zip(mean).zip(square) {
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * g * g;
        *p = *p * keep - step * *m / (v.sqrt() / root + eps);
    }
}
