"""Style of the pages, and what they do in the browser: CSS and JavaScript of our own, no more."""

CSS = """
.gradio-container { max-width: 1080px !important; width: 100%; margin: 0 auto !important; }
.gradio-container > main, .gradio-container .fillable { width: 100% !important;
  max-width: 1080px !important; padding: 24px 20px 8px !important; }
.gradio-container footer { margin-top: 4px; font-size: 0.82rem; }
.gradio-container footer .divider { display: none; }
#head, #head > *, .card .html-container, #note .html-container { padding: 0 !important; }
#head h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 700; letter-spacing: -0.02em;
  margin: 0 0 6px; overflow-wrap: anywhere; }
#head .about { font-size: 1.05rem; margin: 0; max-width: 68ch; overflow-wrap: anywhere; }
#head .model { font-size: 0.85rem; color: var(--body-text-color-subdued); margin: 6px 0 0;
  overflow-wrap: anywhere; text-wrap: pretty; }
.dark { --link-text-color: #a5b4fc; --link-text-color-hover: #c7d2fe;
  --link-text-color-visited: #a5b4fc; }
#head a { margin: 0; padding: 0; color: var(--link-text-color); text-decoration: underline;
  text-underline-offset: 2px; }
.notice { border-left: 3px solid #d97706; background: color-mix(in srgb, #d97706 10%, transparent);
  border-radius: 6px; padding: 8px 12px; margin: 10px 0 0; font-size: 0.9rem;
  overflow-wrap: anywhere; }
.card { background: var(--block-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: 14px; padding: 18px; gap: 14px; }
#desk { gap: 18px; align-items: flex-start; }
#desk > .card { min-width: min(320px, 100%) !important; }
.card .block { border-style: none !important; border-width: 0 !important; box-shadow: none;
  padding: 0 !important; background: transparent; overflow: visible !important; }
.card .form { border: none; background: transparent; box-shadow: none; gap: 14px;
  overflow: visible; }
.card .hide-container:empty { display: none; }
.card .notice { border: none; background: none; padding: 0; margin: 0 0 6px;
  color: var(--body-text-color-subdued); }
.card [data-testid="block-info"], .card .label-text { font-weight: 600;
  color: var(--body-text-color); }
#inputs .form { display: grid; align-items: end;
  grid-template-columns: repeat(auto-fit, minmax(min(190px, 100%), 1fr)); }
#inputs .form > * { min-width: 0 !important; }
#inputs .form > :has(textarea) { grid-column: 1 / -1; }
#inputs .form .wrap:has(> .wrap-inner) { min-height: 42px; display: flex; align-items: center;
  border-color: var(--input-border-color); }
#inputs .form .wrap > .wrap-inner { width: 100%; }
#inputs .checkbox-container { min-height: 42px; }
#inputs textarea { min-height: 96px; }
#inputs .image-container { border: 1px dashed var(--input-border-color); border-radius: 10px;
  overflow: hidden; }
#answered { position: sticky; top: 12px; scroll-margin-top: 8px; }
#waiting .empty { display: flex; align-items: center; justify-content: center;
  min-height: 200px; color: var(--body-text-color-subdued); }
#answered:focus, #answered:focus-visible { outline: none; }
#answered:focus-visible { border-color: var(--color-accent); }
#prediction [data-testid="block-label"] { position: absolute; clip-path: inset(50%); }
#prediction, #prediction * { font-family: inherit; }
#prediction .container { padding: 0; }
#prediction input[type="number"] { font-size: 1.7rem; font-weight: 700; border: 0; padding: 0;
  background: none; box-shadow: none; color: var(--body-text-color); opacity: 1;
  -webkit-text-fill-color: currentcolor; appearance: textfield; }
#prediction .output-class { font-size: 1.7rem; padding: 0 0 12px; overflow-wrap: anywhere;
  text-align: left; justify-content: flex-start; }
#notes .note { font-size: 0.88rem; margin: 0 0 4px; padding-left: 1.3em; text-indent: -1.3em;
  color: var(--body-text-color); overflow-wrap: anywhere; }
#notes .note::before { content: "⚠" / ""; color: #d97706; display: inline-block; width: 1.3em;
  text-indent: 0; }
#question h2 { font-size: 1rem; font-weight: 600; margin: 0; }
#question { gap: 12px; border-top: 1px solid var(--border-color-primary); padding-top: 12px; }
#right::before { content: "✓" / ""; color: #16a34a; margin-right: 8px; font-weight: 700; }
#wrong::before { content: "✗" / ""; color: #dc2626; margin-right: 8px; font-weight: 700; }
.card fieldset .wrap, #sides-choice .wrap { gap: 8px; }
.card fieldset .wrap label { border: 1px solid var(--border-color-primary); border-radius: 999px;
  padding: 6px 14px; background: var(--background-fill-primary); box-shadow: none; }
.card fieldset .wrap label.selected { border-color: var(--color-accent);
  background: var(--color-accent-soft); }
.card fieldset .wrap label:focus-within { outline: 2px solid var(--color-accent);
  outline-offset: 2px; }
.card fieldset .wrap label span { overflow-wrap: anywhere; }
details.terms, details.terms p, details.terms .line { font-size: 0.82rem;
  color: var(--body-text-color-subdued); }
details.terms summary { cursor: pointer; list-style: none; }
details.terms summary::-webkit-details-marker { display: none; }
details.terms summary u { white-space: nowrap; color: var(--link-text-color); }
details.terms p { margin: 6px 0 0; }
details.terms.agreed .line { display: none; }
details.terms:not(.agreed) .remembered { display: none; }
#said { min-height: 1.5em; }
#said p { margin: 0; }
#status, #status p { color: var(--body-text-color-subdued); font-size: 0.82rem; }
#status { padding: 0 2px; }
.image-frame img { width: 100%; height: 100%; object-fit: contain; }
.gradio-container button:focus-visible, .gradio-container summary:focus-visible,
.gradio-container a:focus-visible { outline: 2px solid var(--color-accent); outline-offset: 2px; }
@media (max-width: 640px) {
  .gradio-container > main, .gradio-container .fillable { padding: 14px 12px 8px !important; }
  #head h1 { font-size: 1.4rem; }
  #head .about { font-size: 0.95rem; }
  .card { padding: 14px; border-radius: 12px; }
  #desk { flex-direction: column; gap: 12px; }
  #desk > .card { width: 100%; }
  #inputs textarea { min-height: 72px; }
  #inputs .block:has(.image-container) { height: 190px !important; }
  #waiting .empty { min-height: 64px; }
  #answered { position: static; }
}
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
"""
# Answers are read out where they appear, the page has a language, Enter asks, and what a visitor
# has agreed to by rating once is remembered in their browser.
SCRIPT = """() => {
  document.documentElement.lang = 'en';
  const live = ['said', 'status', 'notes'];
  const prepare = () => {
    for (const id of live) document.getElementById(id)?.setAttribute('aria-live', 'polite');
    const answer = document.getElementById('answered');
    if (answer && !answer.hasAttribute('tabindex')) {
      answer.setAttribute('tabindex', '-1');
      answer.setAttribute('role', 'region');
      answer.setAttribute('aria-label', 'Answer of the model');
    }
    // Rows of the answer are buttons that do nothing here: the way by Tab leads past them.
    for (const row of document.querySelectorAll('#prediction button')) row.tabIndex = -1;
    for (const image of document.querySelectorAll('img:not([alt]), img[alt=""]')) {
      const place = image.closest('#asked .gallery, #examples');
      image.alt = place ? 'An example to try' : 'The picture that the model is asked about';
    }
    // Buttons without words are read out by what they hold, the same for each picture.
    document.querySelectorAll('#asked .gallery-item:has(img)').forEach((button, index) => {
      button.setAttribute('aria-label', `Example picture ${index + 1}`);
    });
    for (const group of document.querySelectorAll('.card fieldset')) choose(group);
    const terms = document.querySelector('details.terms');
    if (terms && !terms.dataset.ready) {
      terms.dataset.ready = 'yes';
      if (remembered(terms)) terms.classList.add('agreed');
    }
  };
  // Gradio names each chip of a choice apart: arrows and Tab treat them as one group again.
  const choose = (group) => {
    const chips = [...group.querySelectorAll('input[type=radio]')];
    const entry = chips.find((chip) => chip.checked) ?? chips[0];
    for (const chip of chips) chip.tabIndex = chip === entry ? 0 : -1;
    return chips;
  };
  document.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const group = event.target.closest?.('fieldset');
    if (!step || !group || event.target.type !== 'radio') return;
    event.preventDefault();
    const chips = choose(group);
    const next = chips[(chips.indexOf(event.target) + step + chips.length) % chips.length];
    next.focus();
    next.click();
  }, true);
  const remembered = (terms) => {
    try { return localStorage.getItem('hub-trainer-terms') === terms.dataset.version; }
    catch { return false; }
  };
  window.hubTrainerRated = () => {
    const terms = document.querySelector('details.terms');
    const saved = document.getElementById('said')?.textContent.includes('Saved.');
    if (!terms || !saved) return;
    try { localStorage.setItem('hub-trainer-terms', terms.dataset.version); } catch {}
    terms.classList.add('agreed');
  };
  window.hubTrainerFocus = (id, inside) => {
    const find = () => {
      const place = document.getElementById(id);
      const target = inside ? place?.querySelector(inside) : place;
      if (!target || !target.offsetParent) return false;
      target.focus({ preventScroll: true });
      const isTall = place.offsetHeight > innerHeight || innerWidth <= 640;
      place.scrollIntoView({ block: id === 'answered' && isTall ? 'start' : 'nearest' });
      return true;
    };
    let tries = 20;
    const again = () => { if (!find() && tries--) setTimeout(again, 50); };
    requestAnimationFrame(again);
  };
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    const field = event.target;
    const fields = ['textarea', 'input[type=number]', 'input[data-testid=textbox]'];
    const asks = fields.map((one) => `#inputs ${one}`).join();
    const kinds = ['radio', 'checkbox', 'number'];
    const chosen = kinds.map((kind) => `#correction input[type=${kind}]`).join();
    const button = field.matches?.(asks) ? 'ask' : field.matches?.(chosen) ? 'send' : null;
    if (!button) return;
    event.preventDefault();
    event.stopPropagation();
    field.dispatchEvent(new Event('change', { bubbles: true }));
    setTimeout(() => document.getElementById(button)?.click(), 60);
  }, true);
  prepare();
  new MutationObserver(prepare).observe(document.body, { childList: true, subtree: true });
}"""
