//! Budgets: how long a file, a function, a crate and a `main.rs` may be, and how many parameters a function may have.
//!
//! Tests do not count: neither items under `#[cfg(test)]` nor files in `tests/`. A receiver is no parameter.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::Visit;

use super::Fault;
use super::source::{File, Tree};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 60;
const PARAMETERS: usize = 5;
const CRATE_LINES: usize = 5000;
const MAIN_LINES: usize = 60;

/// Finds what is over its budget.
pub(super) fn check(tree: &Tree) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    let mut crates: BTreeMap<&str, usize> = BTreeMap::new();
    for file in tree.sources().filter(|file| !file.is_test()) {
        let measured = measure(file)?;
        let lines = measured.lines;
        if let Some((directory, _)) = file.path.split_once("/src/") {
            *crates.entry(directory).or_default() += lines;
        }
        let budget = if file.path.ends_with("src/main.rs") { MAIN_LINES } else { FILE_LINES };
        if lines > budget {
            faults.push(fault(&file.path, format!("{lines} lines without tests; {budget} are allowed: split it")));
        }
        faults.extend(measured.functions.iter().flat_map(|function| function.faults(&file.path)));
    }
    for (directory, lines) in crates.into_iter().filter(|(_, lines)| *lines > CRATE_LINES) {
        faults.push(fault(
            directory,
            format!("{lines} lines without tests; {CRATE_LINES} are allowed: split it by room"),
        ));
    }
    Ok(faults)
}

fn fault(subject: &str, text: String) -> Fault {
    Fault { check: "budgets", subject: subject.to_owned(), text }
}

/// What a file measures without its tests.
struct Measured {
    lines: usize,
    functions: Vec<Function>,
}

struct Function {
    name: String,
    lines: usize,
    parameters: usize,
}

impl Function {
    fn new(signature: &syn::Signature, span: Span) -> Self {
        let typed = |input: &&syn::FnArg| matches!(input, syn::FnArg::Typed(_));
        let lines = span.end().line + 1 - signature.span().start().line;
        Self { name: signature.ident.to_string(), lines, parameters: signature.inputs.iter().filter(typed).count() }
    }

    fn faults(&self, path: &str) -> Vec<Fault> {
        let Self { name, lines, parameters } = self;
        let subject = format!("{path} {name}");
        let mut faults = Vec::new();
        if *lines > FUNCTION_LINES {
            faults.push(fault(&subject, format!("{lines} lines; {FUNCTION_LINES} are allowed: split it")));
        }
        if *parameters > PARAMETERS {
            faults
                .push(fault(&subject, format!("{parameters} parameters; {PARAMETERS} are allowed: give them a type")));
        }
        faults
    }
}

fn measure(file: &File) -> Result<Measured> {
    let syntax = syn::parse_file(&file.text).with_context(|| format!("cannot parse {}", file.path))?;
    let mut visitor = Visitor { functions: Vec::new(), test_lines: 0 };
    visitor.visit_file(&syntax);
    Ok(Measured { lines: file.text.lines().count() - visitor.test_lines, functions: visitor.functions })
}

/// Collects functions, and the lines of what is only for tests, into which it does not look.
struct Visitor {
    functions: Vec<Function>,
    test_lines: usize,
}

impl Visit<'_> for Visitor {
    fn visit_item(&mut self, item: &syn::Item) {
        if attributes(item).iter().any(is_test_attribute) {
            self.test_lines += item.span().end().line + 1 - item.span().start().line;
            return;
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, item: &syn::ItemFn) {
        self.functions.push(Function::new(&item.sig, item.span()));
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &syn::ImplItemFn) {
        if item.attrs.iter().any(is_test_attribute) {
            self.test_lines += item.span().end().line + 1 - item.span().start().line;
            return;
        }
        self.functions.push(Function::new(&item.sig, item.span()));
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &syn::TraitItemFn) {
        self.functions.push(Function::new(&item.sig, item.span()));
        syn::visit::visit_trait_item_fn(self, item);
    }
}

/// `#[cfg(test)]` and `#[test]`.
fn is_test_attribute(attribute: &syn::Attribute) -> bool {
    let is_cfg_test = || attribute.parse_args::<syn::Path>().is_ok_and(|argument| argument.is_ident("test"));
    attribute.path().is_ident("test") || (attribute.path().is_ident("cfg") && is_cfg_test())
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).unwrap().iter().map(ToString::to_string).collect()
    }

    fn function(name: &str, lines: usize) -> String {
        format!("/// Doc.\nfn {name}() {{\n{}}}\n", "    call();\n".repeat(lines - 2))
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let constants = "const A: u8 = 1;\n".repeat(FILE_LINES);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    const A: u8 = 1;\n".repeat(100));
        assert_eq!(faults("a/src/b.rs", &format!("{constants}{tests}")), Vec::<String>::new());
        let over = faults("a/src/b.rs", &format!("{constants}const B: u8 = 1;\n{tests}"));
        assert_eq!(over, ["a/src/b.rs: 501 lines without tests; 500 are allowed: split it (budgets)"]);
    }

    #[test]
    fn a_long_main_is_found() {
        let over = faults("a/src/main.rs", &"const A: u8 = 1;\n".repeat(MAIN_LINES + 1));
        assert_eq!(over, ["a/src/main.rs: 61 lines without tests; 60 are allowed: split it (budgets)"]);
    }

    #[test]
    fn a_long_function_is_found_wherever_it_stands() {
        assert_eq!(faults("a/src/b.rs", &function("short", FUNCTION_LINES)), Vec::<String>::new());
        let long = function("long", FUNCTION_LINES + 1);
        for text in [
            long.clone(),
            format!("impl A {{\n{long}}}"),
            format!("trait A {{\n{long}}}"),
            format!("mod m {{\n{long}}}"),
        ] {
            let found = faults("a/src/b.rs", &text);
            assert_eq!(found, ["a/src/b.rs long: 61 lines; 60 are allowed: split it (budgets)"], "{text}");
        }
    }

    #[test]
    fn too_many_parameters_are_found_and_a_receiver_is_none() {
        let good = "impl A { fn f(&self, a: u8, b: u8, c: u8, d: u8, e: u8) {} }";
        assert_eq!(faults("a/src/b.rs", good), Vec::<String>::new());
        let over = faults("a/src/b.rs", "fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}");
        assert_eq!(over, ["a/src/b.rs f: 6 parameters; 5 are allowed: give them a type (budgets)"]);
    }

    #[test]
    fn a_large_crate_is_found() {
        let text = "const A: u8 = 1;\n".repeat(FILE_LINES);
        let paths: Vec<String> = (0..=10).map(|number| format!("a/src/f{number}.rs")).collect();
        let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), text.as_str())).collect();
        let over = check(&Tree::of(&files)).unwrap();
        assert_eq!(over.len(), 1);
        assert!(over[0].to_string().starts_with("a: 5500 lines without tests"), "{}", over[0]);
    }

    #[test]
    fn test_files_have_no_budget() {
        assert_eq!(faults("a/tests/b.rs", &function("long", 100)), Vec::<String>::new());
    }
}
