// Trees of plain values, and a page that is made to look like them. What is equal stays as it is: focus, scrolling and
// selections outlive every refresh.

const SVG = 'http://www.w3.org/2000/svg';

/** A tree: `h('a', {href: '#/'}, 'text', h('b'))`. `key` among the attributes tells siblings apart. */
export function h(tag, attributes, ...children) {
  const { key, ...rest } = attributes ?? {};
  const there = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  return { tag, key, attributes: rest, children: there.map((child) => (child.tag ? child : String(child))) };
}

/** Makes the children of `root` look like `trees`. */
export function render(root, trees) {
  reconcile(root, [trees].flat(Infinity).filter(Boolean));
}

function reconcile(parent, trees) {
  const keyed = new Map();
  const loose = [];
  for (const node of parent.childNodes) {
    if (node.leno?.key !== undefined) keyed.set(node.leno.key, node);
    else loose.push(node);
  }
  let at = parent.firstChild;
  for (const tree of trees) {
    let node = tree.key === undefined ? loose.find((other) => fits(other, tree)) : keyed.get(tree.key);
    if (node && !fits(node, tree)) node = undefined;
    if (node) {
      if (tree.key === undefined) loose.splice(loose.indexOf(node), 1);
      else keyed.delete(tree.key);
    }
    node ??= create(parent, tree);
    update(node, tree);
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function fits(node, tree) {
  return tree.tag ? node.leno?.tag === tree.tag : node.nodeType === Node.TEXT_NODE;
}

function create(parent, tree) {
  if (!tree.tag) return document.createTextNode(tree);
  const isSvg = tree.tag === 'svg' || (parent.namespaceURI === SVG && parent.localName !== 'foreignObject');
  const node = isSvg ? document.createElementNS(SVG, tree.tag) : document.createElement(tree.tag);
  node.leno = { tag: tree.tag, key: tree.key, attributes: {} };
  return node;
}

function update(node, tree) {
  if (!tree.tag) {
    if (node.data !== tree) node.data = tree;
    return;
  }
  const before = node.leno.attributes;
  for (const name of Object.keys(before)) {
    if (!(name in tree.attributes)) set(node, name, undefined);
  }
  for (const [name, value] of Object.entries(tree.attributes)) {
    if (before[name] !== value) set(node, name, value);
  }
  node.leno.attributes = tree.attributes;
  reconcile(node, tree.children);
}

function set(node, name, value) {
  if (name.startsWith('on')) node[name] = value ?? null;
  else if (name === 'value') {
    if (node.value !== value) node.value = value ?? '';
  } else if (value === undefined || value === null || value === false) node.removeAttribute(name);
  else node.setAttribute(name, value === true ? '' : value);
}
