//! The points of a sweep, resolved before the first second of any.

use std::path::Path;

use super::TeacherFile;
use crate::error::Error;
use crate::spec::{ResolvedRecipe, Setting, Sweep, SweepError};

/// The recipe of every point of a sweep over the one of `path` under `settings`, with its name.
///
/// # Errors
/// A point that is no recipe or that of another point; a setting that a point sets otherwise.
pub fn sweep_recipes(
    path: &Path,
    sweep: &Sweep,
    settings: &[Setting],
) -> Result<Vec<(String, ResolvedRecipe)>, Error> {
    if let Some((given, own)) = sweep.clash(settings) {
        let [given, own] = [given, own].map(|setting| setting.0.clone());
        let sweep = sweep.name.clone();
        return Err(SweepError::Clash { given, own, sweep }.into());
    }
    let mut recipes: Vec<(String, ResolvedRecipe)> = Vec::new();
    for point in &sweep.points {
        let settings: Vec<_> = settings.iter().chain(&point.settings).cloned().collect();
        let recipe = ResolvedRecipe::named(path, &settings).map_err(|error| Error::Cell {
            cell: point.name.clone(),
            source: Box::new(error.into()),
        })?;
        let same = recipes.iter().find(|(_, other)| other.hash == recipe.hash);
        if let Some((other, _)) = same {
            return Err(SweepError::Same {
                sweep: sweep.name.clone(),
                points: [other.clone(), point.name.clone()],
            }
            .into());
        }
        recipes.push((point.name.clone(), recipe));
    }
    Ok(recipes)
}

/// Of the teachers on the command line those that each of several recipes looks at, in their order. A
/// file without a name is that of the only teacher that any of them has.
///
/// # Errors
/// A file that none of them looks at, or that does not say whose it is.
pub fn teachers_of_each(
    recipes: &[(String, ResolvedRecipe)],
    files: &[TeacherFile],
) -> Result<Vec<Vec<TeacherFile>>, Error> {
    let wanted = |recipe: &ResolvedRecipe| -> Vec<String> {
        let method = recipe.recipe.method();
        let teachers = method.counting_teachers();
        teachers.map(|(name, _)| name.to_owned()).collect()
    };
    let mut all: Vec<String> = recipes
        .iter()
        .flat_map(|(_, recipe)| wanted(recipe))
        .collect();
    all.sort();
    all.dedup();
    let mut named = Vec::new();
    for TeacherFile { name, path } in files {
        let name = match (name, all.as_slice()) {
            (Some(name), all) if all.contains(name) => name.clone(),
            (None, [only]) => only.clone(),
            (name, all) => {
                let given = name
                    .as_ref()
                    .map_or(String::new(), |name| format!("{name}="));
                return Err(Error::Usage {
                    message: format!(
                        "--teacher {given}{} is no teacher of the sweep's",
                        path.display()
                    ),
                    hint: match all.is_empty() {
                        true => "no point learns from any: leave --teacher out".to_owned(),
                        false => format!("--teacher NAME=FILE, NAME one of {}", all.join(", ")),
                    },
                });
            }
        };
        named.push(TeacherFile {
            name: Some(name),
            path: path.clone(),
        });
    }
    let of = |recipe: &ResolvedRecipe| {
        let wanted = wanted(recipe);
        let own = named.iter();
        let own = own.filter(|file| file.name.as_ref().is_some_and(|name| wanted.contains(name)));
        own.cloned().collect()
    };
    Ok(recipes.iter().map(|(_, recipe)| of(recipe)).collect())
}
