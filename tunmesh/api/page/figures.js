// Numbers as people read them, the same as in tunmesh/units.py, and elements.

export function duration(seconds) {
  const left = Math.floor(seconds);
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  for (let i = 0; i < 3; i++) {
    const [name, unit] = units[i], [finer, small] = units[i + 1];
    const rest = Math.floor((left % unit) / small);
    if (left >= unit) return Math.floor(left / unit) + name + (rest ? rest + finer : "");
  }
  return left + "s";
}

export function milliseconds(seconds) {
  if (seconds === null) return "–";
  const thousandths = seconds * 1000;
  return thousandths.toFixed(thousandths < 10 ? 2 : 0) + "ms";
}

export function percent(share) {
  return (100 * share).toFixed(share > 0 && share < 0.095 ? 1 : 0) + "%";
}

export function size(count) {
  let unit = "";
  for (unit of ["", "k", "M", "G", "T"]) {
    if (count < 999.5 || unit === "T") break;
    count /= 1000;
  }
  return count.toFixed(unit && count < 9.95 ? 1 : 0) + unit + "B";
}

// An element with attributes and children. Text is only ever text: names come from peers.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function put(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// Makes the children of `parent` those of `items`, in this order. What has the same key stays the
// same element, so that the focus stays where it is. What came with the page goes.
export function keep(parent, items, key, make, update) {
  const wanted = new Set(items.map(key));
  for (const child of [...parent.children]) if (!wanted.has(child.dataset.key)) child.remove();
  const kept = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = parent.firstElementChild;
  for (const item of items) {
    let child = kept.get(key(item));
    if (!child) {
      child = make(item);
      child.dataset.key = key(item);
    }
    if (child === before) before = before.nextElementSibling;
    else parent.insertBefore(child, before);
    update(child, item);
  }
}
