/** Markdown as elements of this page that can do nothing. Loaded when the first one is looked at. */

import DOMPurify from "dompurify";
import MarkdownIt from "markdown-it";

// Lists of what is allowed: whatever browsers learn to do is left out. Without `id` and `name` nothing can
// stand in for a variable of this page, without `style` and `class` nothing can look like a part of it.
const TAGS =
  "a abbr b blockquote br caption center cite code dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i " +
  "img ins kbd li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var";
const ATTRIBUTES = "align alt colspan dir height href lang open reversed rowspan src start title width";

const reader = new MarkdownIt({ html: true, linkify: true });

// Addresses are set aside before the elements come into this document, where they would be asked for.
DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  for (const name of ["src", "href"]) {
    const address = node.getAttribute(name);
    if (address === null || (name === "src" && /^data:image\//i.test(address))) continue;
    node.removeAttribute(name);
    node.setAttribute("data-address", address);
  }
});

/** Elements for a text. Links and images have their address as `data-address`, and lead nowhere by themselves. */
export function toElements(text: string): DocumentFragment {
  const elements = DOMPurify.sanitize(reader.render(text), {
    ALLOWED_TAGS: TAGS.split(" "),
    ALLOWED_ATTR: ATTRIBUTES.split(" "),
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  for (const item of elements.querySelectorAll("li")) {
    const first = item.firstChild instanceof HTMLParagraphElement ? item.firstChild.firstChild : item.firstChild;
    if (first instanceof Text) {
      first.data = first.data.replace(/^\s*\[([ x])\]\s/i, (_, mark: string) => (mark === " " ? "☐ " : "☑ "));
    }
  }
  return elements;
}
