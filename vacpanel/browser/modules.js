// Imports the modules of components. Panel brings es-module-shims for that, which tries in a frame of its own what the
// browser can and reads every module before the browser does: some 90 ms until a first visitor sees the views.
// The browser imports by itself until a component needs an import map, as none of ours does.
{
  let shims = null
  const imported = async (url) => (shims ? (await shims)(url) : import(url))
  imported.addImportMap = (map) => {
    if (!Object.values(map).some((part) => Object.keys(part ?? {}).length)) return // Panel gives every component a map
    shims ??= new Promise((resolve, reject) => {
      const script = document.createElement("script")
      script.src = SHIMS
      script.onload = () => resolve(globalThis.importShim) // its own is there now
      script.onerror = () => reject(new Error(`${SHIMS} could not be loaded`))
      document.head.append(script)
    })
    shims = shims.then((theirs) => (theirs.addImportMap(map), theirs))
  }
  globalThis.importShim = imported
}
