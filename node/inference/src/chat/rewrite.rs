//! Puts the meter into a template: every operation that can make or compare more than a word is
//! turned into one that pays first.
//!
//! minijinja has no hook at its operators, so the template's syntax tree is copied with calls
//! around their operands. The functions stand in the tree as constants: no name of the template's
//! own can take their place.
//!
//! Invariant: what this does not know it refuses, so a new kind of node cannot slip by unpaid.

use minijinja::machinery::Span;
use minijinja::machinery::ast::{self, BinOpKind, CallArg, Expr, Spanned, Stmt};
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::meter::Meter;

/// The functions that pay.
pub(super) struct Rewrite {
    shallow: Value,
    text: Value,
    deep: Value,
    collect: Value,
    key: Value,
    stored: Value,
    multiply: Value,
    slice: Value,
}

impl Rewrite {
    pub(super) fn new(meter: &Meter) -> Self {
        let function = |pay: fn(&Meter, Value) -> Result<Value, Error>| {
            let meter = meter.clone();
            Value::from_function(move |value: Value| pay(&meter, value))
        };
        let (multiplied, sliced) = (meter.clone(), meter.clone());
        Self {
            shallow: function(|meter, value| meter.shallow(&value).map(|()| value)),
            text: function(|meter, value| {
                meter.charge(value.as_str().map_or(1, str::len) as u64).map(|()| value)
            }),
            deep: function(|meter, value| meter.deep(&value).map(|()| value)),
            collect: function(Meter::collect),
            key: function(key),
            stored: function(|meter, value| meter.stored(&value).map(|()| value)),
            multiply: Value::from_function(move |left: Value, right: Value| {
                multiply(&multiplied, &left, &right)
            }),
            slice: Value::from_function(
                move |value: Value, start: Option<i64>, stop: Option<i64>, step: Option<i64>| {
                    slice(&sliced, &value, start, stop, step.unwrap_or(1))
                },
            ),
        }
    }

    pub(super) fn template<'a>(&self, stmt: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
        self.stmt(stmt)
    }

    fn body<'a>(&self, stmts: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Error> {
        stmts.iter().map(|stmt| self.stmt(stmt)).collect()
    }

    fn stmt<'a>(&self, stmt: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
        Ok(match stmt {
            Stmt::Template(t) => {
                let children = self.body(&t.children)?;
                Stmt::Template(Spanned::new(ast::Template { children }, t.span()))
            }
            Stmt::EmitExpr(e) => {
                let expr = self.expr(&e.expr)?;
                Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr }, e.span()))
            }
            // Text of the template, too, goes by the formatter, which pays for it.
            Stmt::EmitRaw(raw) => {
                let expr = constant(Value::from(raw.raw), raw.span());
                Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr }, raw.span()))
            }
            Stmt::ForLoop(f) => {
                if f.recursive {
                    return Err(refused("a recursive loop"));
                }
                let node = ast::ForLoop {
                    target: target(&f.target)?,
                    iter: call(&self.shallow, [self.expr(&f.iter)?], f.span()),
                    filter_expr: f.filter_expr.as_ref().map(|e| self.expr(e)).transpose()?,
                    recursive: false,
                    body: self.body(&f.body)?,
                    else_body: self.body(&f.else_body)?,
                };
                Stmt::ForLoop(Spanned::new(node, f.span()))
            }
            Stmt::IfCond(i) => {
                let node = ast::IfCond {
                    expr: self.expr(&i.expr)?,
                    true_body: self.body(&i.true_body)?,
                    false_body: self.body(&i.false_body)?,
                };
                Stmt::IfCond(Spanned::new(node, i.span()))
            }
            Stmt::WithBlock(w) => {
                let assignments = w
                    .assignments
                    .iter()
                    .map(|(name, value)| Ok((target(name)?, self.expr(value)?)))
                    .collect::<Result<_, Error>>()?;
                let node = ast::WithBlock { assignments, body: self.body(&w.body)? };
                Stmt::WithBlock(Spanned::new(node, w.span()))
            }
            Stmt::Set(s) => {
                let expr = match &s.target {
                    Expr::GetAttr(_) => self.paid(&self.stored, &s.expr)?,
                    _ => self.expr(&s.expr)?,
                };
                let node = ast::Set { target: target(&s.target)?, expr };
                Stmt::Set(Spanned::new(node, s.span()))
            }
            Stmt::SetBlock(s) => {
                let node = ast::SetBlock {
                    target: target(&s.target)?,
                    filter: s.filter.as_ref().map(|f| self.expr(f)).transpose()?,
                    body: self.body(&s.body)?,
                };
                Stmt::SetBlock(Spanned::new(node, s.span()))
            }
            Stmt::FilterBlock(f) => {
                let node =
                    ast::FilterBlock { filter: self.expr(&f.filter)?, body: self.body(&f.body)? };
                Stmt::FilterBlock(Spanned::new(node, f.span()))
            }
            Stmt::Macro(m) => Stmt::Macro(Spanned::new(self.macro_(m)?, m.span())),
            Stmt::CallBlock(c) => {
                let node = ast::CallBlock {
                    call: self.call(&c.call)?,
                    macro_decl: Spanned::new(self.macro_(&c.macro_decl)?, c.macro_decl.span()),
                };
                Stmt::CallBlock(Spanned::new(node, c.span()))
            }
            Stmt::Do(d) => Stmt::Do(Spanned::new(ast::Do { call: self.call(&d.call)? }, d.span())),
            Stmt::Continue(c) => Stmt::Continue(Spanned::new(ast::Continue, c.span())),
            Stmt::Break(b) => Stmt::Break(Spanned::new(ast::Break, b.span())),
            _ => return Err(refused("a statement that chat templates have no use for")),
        })
    }

    fn macro_<'a>(&self, m: &ast::Macro<'a>) -> Result<ast::Macro<'a>, Error> {
        Ok(ast::Macro {
            name: m.name,
            args: m.args.iter().map(target).collect::<Result<_, _>>()?,
            defaults: self.exprs(&m.defaults)?,
            body: self.body(&m.body)?,
        })
    }

    fn exprs<'a>(&self, exprs: &[Expr<'a>]) -> Result<Vec<Expr<'a>>, Error> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn expr<'a>(&self, expr: &Expr<'a>) -> Result<Expr<'a>, Error> {
        let span = expr.span();
        Ok(match expr {
            Expr::Var(v) => Expr::Var(Spanned::new(ast::Var { id: v.id }, span)),
            Expr::Const(c) => constant(c.value.clone(), span),
            Expr::Slice(s) => {
                let part = |part: &Option<Expr<'a>>| {
                    part.as_ref()
                        .map_or(Ok(constant(Value::from(()), span)), |part| self.expr(part))
                };
                let parts = [self.expr(&s.expr)?, part(&s.start)?, part(&s.stop)?, part(&s.step)?];
                call(&self.slice, parts, span)
            }
            Expr::UnaryOp(u) => {
                // The kinds cannot be copied.
                let not = matches!(u.op, ast::UnaryOpKind::Not);
                let op = if not { ast::UnaryOpKind::Not } else { ast::UnaryOpKind::Neg };
                Expr::UnaryOp(Spanned::new(ast::UnaryOp { op, expr: self.expr(&u.expr)? }, span))
            }
            Expr::BinOp(b) => self.binary(b)?,
            Expr::Compare(c) => {
                let node = ast::Compare {
                    expr: self.paid(&self.deep, &c.expr)?,
                    ops: c
                        .ops
                        .iter()
                        .map(|op| {
                            let expr = self.paid(&self.deep, &op.expr)?;
                            Ok(ast::CompareOp { op: op.op, expr })
                        })
                        .collect::<Result<_, Error>>()?,
                };
                Expr::Compare(Spanned::new(node, span))
            }
            Expr::IfExpr(i) => {
                let node = ast::IfExpr {
                    test_expr: self.expr(&i.test_expr)?,
                    true_expr: self.expr(&i.true_expr)?,
                    false_expr: i.false_expr.as_ref().map(|e| self.expr(e)).transpose()?,
                };
                Expr::IfExpr(Spanned::new(node, span))
            }
            // Filters pay for themselves (`library`).
            Expr::Filter(f) => {
                let node = ast::Filter {
                    name: f.name,
                    expr: f.expr.as_ref().map(|e| self.expr(e)).transpose()?,
                    args: self.args(&f.args)?,
                };
                Expr::Filter(Spanned::new(node, span))
            }
            Expr::Test(t) => {
                // A test with an operand compares.
                let expr = match &t.args[..] {
                    [] => self.expr(&t.expr)?,
                    _ => self.paid(&self.deep, &t.expr)?,
                };
                let args = t
                    .args
                    .iter()
                    .map(|arg| match arg {
                        CallArg::Pos(arg) => Ok(CallArg::Pos(self.paid(&self.deep, arg)?)),
                        _ => Err(refused("a test with a named operand")),
                    })
                    .collect::<Result<_, Error>>()?;
                Expr::Test(Spanned::new(ast::Test { name: t.name, expr, args }, span))
            }
            Expr::GetAttr(g) => {
                let node = ast::GetAttr { expr: self.expr(&g.expr)?, name: g.name };
                Expr::GetAttr(Spanned::new(node, span))
            }
            Expr::GetItem(g) => {
                let field =
                    matches!(&g.subscript_expr, Expr::Const(c) if c.value.as_str().is_some());
                let node = if field {
                    ast::GetItem {
                        expr: self.expr(&g.expr)?,
                        subscript_expr: self.expr(&g.subscript_expr)?,
                    }
                } else {
                    // The tenth character of a text is found by counting.
                    ast::GetItem {
                        expr: self.paid_text(&g.expr)?,
                        subscript_expr: self.paid(&self.key, &g.subscript_expr)?,
                    }
                };
                Expr::GetItem(Spanned::new(node, span))
            }
            Expr::Call(c) => Expr::Call(self.call(c)?),
            Expr::List(l) => {
                Expr::List(Spanned::new(ast::List { items: self.exprs(&l.items)? }, span))
            }
            Expr::Tuple(t) => {
                Expr::Tuple(Spanned::new(ast::Tuple { items: self.exprs(&t.items)? }, span))
            }
            Expr::Map(m) => {
                let keys = m.keys.iter().map(|key| self.paid(&self.key, key));
                let node = ast::Map {
                    keys: keys.collect::<Result<_, _>>()?,
                    values: self.exprs(&m.values)?,
                };
                Expr::Map(Spanned::new(node, span))
            }
        })
    }

    fn binary<'a>(&self, b: &Spanned<ast::BinOp<'a>>) -> Result<Expr<'a>, Error> {
        let (span, op) = (b.span(), b.op);
        let node = |left, right| Expr::BinOp(Spanned::new(ast::BinOp { op, left, right }, span));
        let both =
            |pay: &Value| Ok::<_, Error>((self.paid(pay, &b.left)?, self.paid(pay, &b.right)?));
        Ok(match op {
            BinOpKind::Add => {
                let (left, right) = both(&self.shallow)?;
                // Lists that are joined are a view of the two, and a view of views without end.
                call(&self.collect, [node(left, right)], span)
            }
            BinOpKind::Mul => {
                call(&self.multiply, [self.expr(&b.left)?, self.expr(&b.right)?], span)
            }
            BinOpKind::Concat
            | BinOpKind::In
            | BinOpKind::Eq
            | BinOpKind::Ne
            | BinOpKind::Lt
            | BinOpKind::Lte
            | BinOpKind::Gt
            | BinOpKind::Gte => {
                let (left, right) = both(&self.deep)?;
                node(left, right)
            }
            BinOpKind::ScAnd
            | BinOpKind::ScOr
            | BinOpKind::Sub
            | BinOpKind::Div
            | BinOpKind::FloorDiv
            | BinOpKind::Rem
            | BinOpKind::Pow => node(self.expr(&b.left)?, self.expr(&b.right)?),
        })
    }

    fn call<'a>(&self, c: &Spanned<ast::Call<'a>>) -> Result<Spanned<ast::Call<'a>>, Error> {
        let expr = match &c.expr {
            Expr::Var(v) => Expr::Var(Spanned::new(ast::Var { id: v.id }, c.expr.span())),
            // It would keep and compare whatever it is given.
            Expr::GetAttr(g) if g.name == "changed" => return Err(refused("`loop.changed`")),
            Expr::GetAttr(g) => {
                let node = ast::GetAttr { expr: self.expr(&g.expr)?, name: g.name };
                Expr::GetAttr(Spanned::new(node, c.expr.span()))
            }
            _ => return Err(refused("a call of what has no name")),
        };
        Ok(Spanned::new(ast::Call { expr, args: self.args(&c.args)? }, c.span()))
    }

    fn args<'a>(&self, args: &[CallArg<'a>]) -> Result<Vec<CallArg<'a>>, Error> {
        args.iter()
            .map(|arg| match arg {
                CallArg::Pos(expr) => Ok(CallArg::Pos(self.expr(expr)?)),
                CallArg::Kwarg(name, expr) => Ok(CallArg::Kwarg(name, self.expr(expr)?)),
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                    Err(refused("a list that becomes arguments"))
                }
            })
            .collect()
    }

    /// An operand that is paid for. What stands in the template was paid with its size.
    fn paid<'a>(&self, pay: &Value, expr: &Expr<'a>) -> Result<Expr<'a>, Error> {
        let inner = self.expr(expr)?;
        Ok(if matches!(inner, Expr::Const(_)) { inner } else { call(pay, [inner], expr.span()) })
    }

    /// Pays for a text that is looked into, a constant one too: a loop may do it again and again.
    /// A list's element is found at once.
    fn paid_text<'a>(&self, expr: &Expr<'a>) -> Result<Expr<'a>, Error> {
        Ok(call(&self.text, [self.expr(expr)?], expr.span()))
    }
}

/// What is assigned to: copied as it is, it costs nothing.
fn target<'a>(expr: &Expr<'a>) -> Result<Expr<'a>, Error> {
    let span = expr.span();
    let all = |items: &[Expr<'a>]| items.iter().map(target).collect::<Result<Vec<_>, _>>();
    Ok(match expr {
        Expr::Var(v) => Expr::Var(Spanned::new(ast::Var { id: v.id }, span)),
        Expr::GetAttr(g) => {
            let node = ast::GetAttr { expr: target(&g.expr)?, name: g.name };
            Expr::GetAttr(Spanned::new(node, span))
        }
        Expr::List(l) => Expr::List(Spanned::new(ast::List { items: all(&l.items)? }, span)),
        Expr::Tuple(t) => Expr::Tuple(Spanned::new(ast::Tuple { items: all(&t.items)? }, span)),
        _ => return Err(refused("an assignment to what is no name")),
    })
}

fn constant<'a>(value: Value, span: Span) -> Expr<'a> {
    Expr::Const(Spanned::new(ast::Const { value }, span))
}

fn call<'a, const N: usize>(function: &Value, args: [Expr<'a>; N], span: Span) -> Expr<'a> {
    let expr = constant(function.clone(), span);
    let args = args.into_iter().map(CallArg::Pos).collect();
    Expr::Call(Spanned::new(ast::Call { expr, args }, span))
}

/// A key of a map or a place in a list: words and numbers, which are cheap to compare.
fn key(meter: &Meter, value: Value) -> Result<Value, Error> {
    if value.try_iter().is_ok()
        && value.as_str().is_none()
        && !value.is_none()
        && !value.is_undefined()
    {
        return Err(refused("a list as a key"));
    }
    meter.shallow(&value).map(|()| value)
}

fn multiply(meter: &Meter, left: &Value, right: &Value) -> Result<Value, Error> {
    let repeated = |what: &Value, times: &Value| -> Result<Option<Value>, Error> {
        let Some(text) = what.as_str() else { return Ok(None) };
        let times = usize::try_from(i64::try_from(times.clone())?.max(0)).unwrap_or(usize::MAX);
        meter.charge((text.len() as u64).saturating_mul(times as u64).saturating_add(1))?;
        Ok(Some(Value::from(text.repeat(times))))
    };
    if let Some(text) = repeated(left, right)? {
        return Ok(text);
    }
    if let Some(text) = repeated(right, left)? {
        return Ok(text);
    }
    if let (Ok(left), Ok(right)) = (i64::try_from(left.clone()), i64::try_from(right.clone())) {
        let product = left.checked_mul(right).map(Value::from);
        return product.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "number too large"));
    }
    Ok(Value::from(f64::try_from(left.clone())? * f64::try_from(right.clone())?))
}

/// A part of a text or a list, as Python counts. minijinja's own gives a view of a view, and panics
/// on some that go backwards.
fn slice(
    meter: &Meter,
    value: &Value,
    start: Option<i64>,
    stop: Option<i64>,
    step: i64,
) -> Result<Value, Error> {
    let wrong = |reason: &'static str| Err(Error::new(ErrorKind::InvalidOperation, reason));
    if step == 0 {
        return wrong("a slice needs a step");
    }
    meter.shallow(value)?;
    let items: Vec<Value> = match value.as_str() {
        // As values, characters take more room than in a text.
        Some(text) if step == 1 => {
            let len = text.chars().count() as i64;
            let (start, stop) = bounds(start, stop, 1, len);
            let taken = text.chars().skip(start as usize).take((stop - start).max(0) as usize);
            return Ok(Value::from(taken.collect::<String>()));
        }
        _ if value.is_undefined() || value.is_none() => Vec::new(),
        _ if value.kind() == ValueKind::Map => return wrong("a map has no slices"),
        text => {
            meter.charge(32 * text.map_or(0, str::len) as u64)?;
            value.try_iter()?.collect()
        }
    };
    let (mut at, stop) = bounds(start, stop, step, items.len() as i64);
    let mut taken = Vec::new();
    while if 0 < step { at < stop } else { stop < at } {
        taken.extend(items.get(at as usize).cloned());
        at = at.saturating_add(step);
    }
    Ok(match value.as_str() {
        Some(_) => Value::from(taken.iter().filter_map(Value::as_str).collect::<String>()),
        None => Value::from(taken),
    })
}

/// Where a slice begins and before which place it ends.
fn bounds(start: Option<i64>, stop: Option<i64>, step: i64, len: i64) -> (i64, i64) {
    let (low, high) = if 0 < step { (0, len) } else { (-1, len - 1) };
    let place = |at: Option<i64>, default: i64| match at {
        None => default,
        Some(at) if at < 0 => at.saturating_add(len).clamp(low, high),
        Some(at) => at.clamp(low, high),
    };
    let (first, last) = if 0 < step { (low, high) } else { (high, low) };
    (place(start, first), place(stop, last))
}

fn refused(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{what} is not supported in a chat template"))
}
