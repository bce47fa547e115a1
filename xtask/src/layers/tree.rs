//! The modules of a crate: what each defines, imports and names.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Meta, Token, UseTree, punctuated::Punctuated};

/// The path from the root of the crate to a module, or the segments of a written path.
pub(super) type Names = Vec<String>;

#[derive(Debug)]
pub(super) struct Tree {
    modules: BTreeMap<Names, Module>,
    /// The modules that the root declares, in this order.
    top_level: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Module {
    /// Relative to the folder of the crate's sources.
    pub(super) file: String,
    /// Names of items other than modules and imports.
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    /// Paths of at least two names outside of imports.
    pub(super) paths: BTreeSet<Names>,
}

#[derive(Debug)]
pub(super) struct Import {
    /// The name of the import inside the module; `None` for a glob import.
    pub(super) name: Option<String>,
    pub(super) path: Names,
}

impl Tree {
    /// Reads the modules that `lib.rs` declares, except those that are only compiled for tests.
    ///
    /// # Errors
    /// If a file is missing or does not parse.
    pub(super) fn read(source: &impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut tree = Self { modules: BTreeMap::new(), top_level: Vec::new() };
        tree.read_file("lib.rs", "", &Names::new(), source)?;
        Ok(tree)
    }

    pub(super) fn modules(&self) -> impl Iterator<Item = (&Names, &Module)> {
        self.modules.iter()
    }

    pub(super) fn module(&self, path: &[String]) -> Option<&Module> {
        self.modules.get(path)
    }

    pub(super) fn top_level(&self) -> Vec<String> {
        self.top_level.clone()
    }

    /// `folder` is where the files of child modules are.
    fn read_file(
        &mut self,
        file: &str,
        folder: &str,
        path: &Names,
        source: &impl Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        let text = source(file).ok_or_else(|| format!("there is no {file}"))?;
        let parsed = syn::parse_file(&text).map_err(|error| format!("{file}: {error}"))?;
        self.read_items(&parsed.items, file, folder, path, source)
    }

    fn read_items(
        &mut self,
        items: &[Item],
        file: &str,
        folder: &str,
        path: &Names,
        source: &impl Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        let mut reader = Reader::default();
        items.iter().for_each(|item| reader.visit_item(item));
        let Reader { mut module, children } = reader;
        module.file = file.to_owned();
        module.items.extend(items.iter().filter_map(name));
        self.modules.insert(path.clone(), module);
        for child in children {
            let name = child.ident.unraw().to_string();
            if path.is_empty() {
                self.top_level.push(name.clone());
            }
            let folder_of_child = format!("{folder}{name}/");
            let path = [path.as_slice(), std::slice::from_ref(&name)].concat();
            match &child.content {
                Some((_, items)) => {
                    self.read_items(items, file, &folder_of_child, &path, source)?;
                }
                None => {
                    let beside = format!("{folder}{name}.rs");
                    let within = format!("{folder_of_child}mod.rs");
                    let file = if source(&beside).is_some() { beside } else { within };
                    self.read_file(&file, &folder_of_child, &path, source)?;
                }
            }
        }
        Ok(())
    }
}

/// The name that an item defines. Modules and imports are kept apart.
fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    (!is_test_only(attributes(item))).then(|| name.unraw().to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether something is compiled only for tests.
fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            list.parse_args::<Meta>().is_ok_and(|condition| needs_test(&condition))
        }
        meta => meta.path().is_ident("test"),
    })
}

fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => {
            let parse = Punctuated::<Meta, Token![,]>::parse_terminated;
            let parts = list.parse_args_with(parse).unwrap_or_default();
            match list.path.get_ident().map(ToString::to_string).as_deref() {
                Some("all") => parts.iter().any(needs_test),
                Some("any") => !parts.is_empty() && parts.iter().all(needs_test),
                // A name-value pair, or `not`, which never needs the tests.
                _ => false,
            }
        }
        Meta::NameValue(_) => false,
    }
}

/// Collects the contents of one module; the caller handles child modules.
#[derive(Default)]
struct Reader {
    module: Module,
    children: Vec<ItemMod>,
}

impl Reader {
    fn import(&mut self, tree: &UseTree, mut path: Names) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.unraw().to_string());
                self.import(&part.tree, path);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(tree, path.clone()));
            }
            UseTree::Glob(_) => self.module.imports.push(Import { name: None, path }),
            UseTree::Name(part) => self.bind(part.ident.unraw().to_string(), None, path),
            UseTree::Rename(part) => {
                let alias = part.rename.unraw().to_string();
                self.bind(part.ident.unraw().to_string(), Some(alias), path);
            }
        }
    }

    fn bind(&mut self, name: String, alias: Option<String>, mut path: Names) {
        // `a::{self}` is `a`.
        if name != "self" || path.is_empty() {
            path.push(name);
        }
        let name = alias.or_else(|| path.last().cloned());
        self.module.imports.push(Import { name, path });
    }

    fn path(&mut self, names: Names) {
        if names.len() > 1 {
            self.module.paths.insert(names);
        }
    }

    /// Finds paths such as `crate::a::B` in the input of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut names = Names::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.path(std::mem::take(&mut names));
                    }
                    names.push(ident.unraw().to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.path(std::mem::take(&mut names));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.path(names);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.children.push(item.clone());
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // A leading `::` names another crate.
        if item.leading_colon.is_none() {
            self.import(&item.tree, Names::new());
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test_only(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.path(path.segments.iter().map(|part| part.ident.unraw().to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        // Items that `macro_rules!` defines are resolved at the place of use.
        if !invocation.path.is_ident("macro_rules") {
            self.visit_path(&invocation.path);
            self.tokens(invocation.tokens.clone());
        }
    }
}
