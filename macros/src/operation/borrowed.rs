//! Finds what does not own what it holds.

use syn::{
    Lifetime, Type, TypeImplTrait, TypeReference,
    visit_mut::{self, VisitMut},
};

use super::shown;
use crate::mistakes::Mistakes;

/// Notes each borrow inside a type that must travel. `part` says of what.
pub(super) fn check(ty: &Type, part: &str, mistakes: &mut Mistakes) {
    // The trait for looking only is behind a feature of its own.
    Finder { part, mistakes }.visit_type_mut(&mut ty.clone());
}

struct Finder<'a> {
    part: &'a str,
    mistakes: &'a mut Mistakes,
}

impl VisitMut for Finder<'_> {
    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        let owned = owned(&reference.elem);
        self.mistakes.at(
            &*reference,
            format!(
                "{} travels, so it must be owned: `{owned}` in place of `{}`",
                self.part,
                shown(&*reference)
            ),
        );
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            self.mistakes.at(
                &*lifetime,
                format!("{} travels, so it must be owned and have no lifetimes", self.part),
            );
        }
    }

    fn visit_type_impl_trait_mut(&mut self, opaque: &mut TypeImplTrait) {
        self.mistakes.at(&*opaque, format!("{} travels, so its type must have a name", self.part));
    }

    fn visit_type_mut(&mut self, ty: &mut Type) {
        // Functions are no data; their types may well have lifetimes. The compiler says the rest.
        if !matches!(ty, Type::BareFn(_) | Type::TraitObject(_)) {
            visit_mut::visit_type_mut(self, ty);
        }
    }
}

/// The type that owns what a reference to `ty` borrows.
pub(super) fn owned(ty: &Type) -> String {
    match ty {
        Type::Slice(slice) => format!("Vec<{}>", shown(&slice.elem)),
        Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
        Type::Reference(reference) => owned(&reference.elem),
        other => shown(other),
    }
}
