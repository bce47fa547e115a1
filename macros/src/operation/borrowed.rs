//! Finds types that borrow.

use syn::{
    Lifetime, Type, TypeImplTrait, TypeReference,
    visit_mut::{self, VisitMut},
};

use super::{is_named, shown};
use crate::mistakes::Mistakes;

/// Reports each borrow inside a type that is sent to workers; `part` names the role of the type.
pub(super) fn check(ty: &Type, part: &str, mistakes: &mut Mistakes) {
    // The trait for immutable visits needs another feature of `syn`.
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
                "{} is sent over the network, so it cannot borrow: use `{owned}` instead of `{}`",
                self.part,
                shown(&*reference)
            ),
        );
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident != "static" {
            self.mistakes.at(
                &*lifetime,
                format!(
                    "{} is sent over the network, so it cannot borrow: remove the lifetime",
                    self.part
                ),
            );
        }
    }

    fn visit_type_impl_trait_mut(&mut self, opaque: &mut TypeImplTrait) {
        self.mistakes.at(
            &*opaque,
            format!("{} is sent over the network, so its type must have a name", self.part),
        );
    }

    fn visit_type_mut(&mut self, ty: &mut Type) {
        // Types of functions can have lifetimes that are not borrows. The compiler rejects them
        // later, because they do not serialize.
        if !matches!(ty, Type::BareFn(_) | Type::TraitObject(_)) {
            visit_mut::visit_type_mut(self, ty);
        }
    }
}

/// The owned type that corresponds to a reference to `ty`.
pub(super) fn owned(ty: &Type) -> String {
    match ty {
        Type::Slice(slice) => format!("Vec<{}>", shown(&slice.elem)),
        Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
        _ if is_named(ty, "Path") => "PathBuf".to_owned(),
        _ if is_named(ty, "OsStr") => "OsString".to_owned(),
        _ if is_named(ty, "CStr") => "CString".to_owned(),
        Type::Reference(reference) => owned(&reference.elem),
        other => shown(other),
    }
}
