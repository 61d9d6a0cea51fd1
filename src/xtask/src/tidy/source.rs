//! One source file, measured.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// What is measured of a file.
pub(super) struct Measured {
    /// Its path from the root.
    pub(super) name: String,
    /// Lines before its tests.
    pub(super) lines: usize,
    /// All of it is tests.
    pub(super) is_test: bool,
    /// It is the root of a crate.
    pub(super) needs_header: bool,
    /// It begins with `//!`.
    pub(super) has_header: bool,
    /// Lines with a mark for later.
    pub(super) marks: Vec<usize>,
    /// Its functions, those of its tests left out.
    pub(super) functions: Vec<Function>,
}

/// What is measured of a function.
pub(super) struct Function {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) lines: usize,
    pub(super) arguments: usize,
}

/// Measures a file.
pub(super) fn measure(name: &str, text: &str) -> syn::Result<Measured> {
    let parsed = syn::parse_file(text)?;
    let all: Vec<&str> = text.lines().collect();
    let tests_begin = parsed.items.iter().find(|item| is_test_module(item)).map(|item| item.span().start().line - 1);
    let mut visitor = Functions { lines: &all, found: Vec::new() };
    for item in parsed.items.iter().filter(|item| !is_test_module(item)) {
        visitor.visit_item(item);
    }
    let marks = all.iter().enumerate().filter(|(_, line)| is_mark(line)).map(|(index, _)| index + 1).collect();
    Ok(Measured {
        name: name.to_owned(),
        lines: tests_begin.unwrap_or(all.len()),
        is_test: name.starts_with("tests/") || name.ends_with("/tests.rs") || name.contains("/tests/"),
        needs_header: name.ends_with("/src/lib.rs") || name.ends_with("/src/main.rs"),
        has_header: text.starts_with("//!"),
        marks,
        functions: visitor.found,
    })
}

fn is_test_module(item: &syn::Item) -> bool {
    let syn::Item::Mod(module) = item else {
        return false;
    };
    module.attrs.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

/// A comment that puts work off. The words are put together here so that this file does not find itself.
fn is_mark(line: &str) -> bool {
    let Some((_, comment)) = line.split_once("//") else {
        return false;
    };
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")]
        .iter()
        .any(|word| comment.split(|c: char| !c.is_ascii_alphabetic()).any(|found| found == *word))
}

struct Functions<'a> {
    lines: &'a [&'a str],
    found: Vec<Function>,
}

impl Functions<'_> {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.span().end().line);
        let code = self.lines[first - 1..last].iter().map(|line| line.trim());
        let receiver = usize::from(signature.receiver().is_some());
        self.found.push(Function {
            name: signature.ident.to_string(),
            line: first,
            lines: code.filter(|line| !line.is_empty() && !line.starts_with("//")).count(),
            arguments: signature.inputs.len() - receiver,
        });
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}
