//! Finds an operation that would have the name of a type in its own signature.

use syn::{
    Ident, Signature, TypePath,
    visit_mut::{self, VisitMut},
};

use crate::mistakes::Mistakes;

/// Reports the first type of the signature that has the name of the operation, as in
/// `fn row(r: Row)`: the two would collide.
pub(super) fn check(signature: &Signature, type_name: &Ident, mistakes: &mut Mistakes) {
    let mut finder = Finder { type_name, found: None };
    // The trait for immutable visits needs another feature of `syn`.
    finder.visit_signature_mut(&mut signature.clone());
    if let Some(found) = finder.found {
        let function = &signature.ident;
        mistakes.at(
            &found,
            format!(
                "the operation of `{function}` would be named `{found}`, as this type is: name it \
                 with `#[operation(type = \"…\")]`"
            ),
        );
    }
}

struct Finder<'a> {
    type_name: &'a Ident,
    found: Option<Ident>,
}

impl VisitMut for Finder<'_> {
    fn visit_type_path_mut(&mut self, ty: &mut TypePath) {
        // Only the first name of a path is looked up where the operation is defined.
        if let Some(first) = ty.path.segments.first()
            && ty.path.leading_colon.is_none()
            && first.ident == *self.type_name
        {
            self.found.get_or_insert_with(|| first.ident.clone());
        }
        visit_mut::visit_type_path_mut(self, ty);
    }
}
