-- The database inside every generation. Schema `store` holds base tables with small numeric keys, sorted by
-- (model_id, class_id, image_id) so that DuckDB's zone maps skip what a query does not need; schema `main` holds the
-- relations that people query. Only words that DuckDB 1.0 understands: its clients read the views as written here.

CREATE SCHEMA store;

-- store: base tables ------------------------------------------------------------------------------------------------

CREATE TABLE store.generation (
  number INTEGER NOT NULL,
  inputs VARCHAR NOT NULL,
  explanations VARCHAR NOT NULL,
  schema_version INTEGER NOT NULL,
  published_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE store.generation IS 'One row about this published state of the warehouse.';
COMMENT ON COLUMN store.generation.number IS 'Number of the generation; the next published state has a higher one.';
COMMENT ON COLUMN store.generation.inputs IS 'Fingerprint of the files that the generation was built from.';
COMMENT ON COLUMN store.generation.explanations IS 'Fingerprint of the explanation maps that it lists.';
COMMENT ON COLUMN store.generation.schema_version IS 'Version of the layout of the warehouse.';
COMMENT ON COLUMN store.generation.published_at IS 'When it was published (UTC).';

CREATE TABLE store.model (
  model_id SMALLINT NOT NULL,
  key VARCHAR NOT NULL,
  model VARCHAR NOT NULL,
  label VARCHAR NOT NULL,
  family VARCHAR NOT NULL,
  source VARCHAR NOT NULL,
  parameters BIGINT NOT NULL,
  flops BIGINT,
  input_size INTEGER NOT NULL,
  latency_ms DOUBLE,
  images_per_second DOUBLE,
  precision VARCHAR NOT NULL,
  weights_sha256 VARCHAR NOT NULL,
  preprocess VARCHAR NOT NULL,
  layer VARCHAR,
  created_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE store.model IS 'Base table of the view models.';
COMMENT ON COLUMN store.model.model_id IS 'Number of the model in this generation, in order of names.';
COMMENT ON COLUMN store.model.key IS 'See models.key.';
COMMENT ON COLUMN store.model.model IS 'See models.model.';
COMMENT ON COLUMN store.model.label IS 'See models.label.';
COMMENT ON COLUMN store.model.family IS 'See models.family.';
COMMENT ON COLUMN store.model.source IS 'See models.source.';
COMMENT ON COLUMN store.model.parameters IS 'See models.parameters.';
COMMENT ON COLUMN store.model.flops IS 'See models.flops.';
COMMENT ON COLUMN store.model.input_size IS 'See models.input_size.';
COMMENT ON COLUMN store.model.latency_ms IS 'See models.latency_ms.';
COMMENT ON COLUMN store.model.images_per_second IS 'See models.images_per_second.';
COMMENT ON COLUMN store.model.precision IS 'See models.precision.';
COMMENT ON COLUMN store.model.weights_sha256 IS 'See models.weights_sha256.';
COMMENT ON COLUMN store.model.preprocess IS 'See models.preprocess.';
COMMENT ON COLUMN store.model.layer IS 'See models.layer.';
COMMENT ON COLUMN store.model.created_at IS 'See models.created_at.';

CREATE TABLE store.prediction (
  model_id SMALLINT NOT NULL,
  image_id INTEGER NOT NULL,
  class_id INTEGER NOT NULL,
  predicted_class_id INTEGER NOT NULL,
  confidence REAL NOT NULL,
  true_confidence REAL NOT NULL,
  true_rank INTEGER NOT NULL,
  class_id_2 INTEGER,
  class_id_3 INTEGER,
  class_id_4 INTEGER,
  class_id_5 INTEGER,
  confidence_2 REAL,
  confidence_3 REAL,
  confidence_4 REAL,
  confidence_5 REAL
);
COMMENT ON TABLE store.prediction IS 'Base table of the view predictions, sorted by model_id, class_id, image_id.';
COMMENT ON COLUMN store.prediction.model_id IS 'The model (store.model).';
COMMENT ON COLUMN store.prediction.image_id IS 'See predictions.image_id.';
COMMENT ON COLUMN store.prediction.class_id IS 'See predictions.class_id.';
COMMENT ON COLUMN store.prediction.predicted_class_id IS 'See predictions.predicted_class_id.';
COMMENT ON COLUMN store.prediction.confidence IS 'See predictions.confidence.';
COMMENT ON COLUMN store.prediction.true_confidence IS 'See predictions.true_confidence.';
COMMENT ON COLUMN store.prediction.true_rank IS 'See predictions.true_rank.';
COMMENT ON COLUMN store.prediction.class_id_2 IS 'See predictions.class_id_2.';
COMMENT ON COLUMN store.prediction.class_id_3 IS 'See predictions.class_id_3.';
COMMENT ON COLUMN store.prediction.class_id_4 IS 'See predictions.class_id_4.';
COMMENT ON COLUMN store.prediction.class_id_5 IS 'See predictions.class_id_5.';
COMMENT ON COLUMN store.prediction.confidence_2 IS 'See predictions.confidence_2.';
COMMENT ON COLUMN store.prediction.confidence_3 IS 'See predictions.confidence_3.';
COMMENT ON COLUMN store.prediction.confidence_4 IS 'See predictions.confidence_4.';
COMMENT ON COLUMN store.prediction.confidence_5 IS 'See predictions.confidence_5.';

CREATE TABLE store.confusion (
  model_id SMALLINT NOT NULL,
  class_id INTEGER NOT NULL,
  predicted_class_id INTEGER NOT NULL,
  images BIGINT NOT NULL
);
COMMENT ON TABLE store.confusion IS 'Base table of the view confusion.';
COMMENT ON COLUMN store.confusion.model_id IS 'The model (store.model).';
COMMENT ON COLUMN store.confusion.class_id IS 'See confusion.class_id.';
COMMENT ON COLUMN store.confusion.predicted_class_id IS 'See confusion.predicted_class_id.';
COMMENT ON COLUMN store.confusion.images IS 'See confusion.images.';

-- Counted once per publish, so that a dashboard's filters need no predictions (warehouse/answers.py).
CREATE TABLE store.answer_count (
  model_id SMALLINT NOT NULL,
  class_id INTEGER NOT NULL,
  level SMALLINT NOT NULL,
  images INTEGER NOT NULL,
  right1 INTEGER NOT NULL,
  right5 INTEGER NOT NULL
);
COMMENT ON TABLE store.answer_count IS 'Predictions counted by model, true class and level of the confidence.';
COMMENT ON COLUMN store.answer_count.model_id IS 'The model (store.model).';
COMMENT ON COLUMN store.answer_count.class_id IS 'True class of the images; only classes with images appear.';
COMMENT ON COLUMN store.answer_count.level IS 'Confidence: 2 k means k % exactly, 2 k + 1 between k % and k + 1 %.';
COMMENT ON COLUMN store.answer_count.images IS 'Number of predictions.';
COMMENT ON COLUMN store.answer_count.right1 IS 'Number of them whose predicted class is the true one.';
COMMENT ON COLUMN store.answer_count.right5 IS 'Number of them with the true class among the first five.';

CREATE TABLE store.image_answers (
  image_id INTEGER NOT NULL,
  class_id INTEGER NOT NULL,
  answers BLOB NOT NULL
);
COMMENT ON TABLE store.image_answers IS 'How all models did on every image, sorted by image_id.';
COMMENT ON COLUMN store.image_answers.image_id IS 'The image.';
COMMENT ON COLUMN store.image_answers.class_id IS 'True class of the image.';
COMMENT ON COLUMN store.image_answers.answers IS
  'A byte for each model, by model_id: 1 predicted it, + 2 rightly, + 4 the true class is among the first five.';

-- One row per pair of classes rather than a list per class: the pairs of one class, and the join with the mirrored
-- pairs that makes a distance, then touch only the rows they need.
CREATE TABLE store.class_confidence (
  model_id SMALLINT NOT NULL,
  class_id INTEGER NOT NULL,
  other_class_id INTEGER NOT NULL,
  images BIGINT NOT NULL,
  mean_confidence DOUBLE NOT NULL
);
COMMENT ON TABLE store.class_confidence IS
  'Base table of the views class_confidences and class_distances: mean confidence in other_class_id over the images of class_id.';
COMMENT ON COLUMN store.class_confidence.model_id IS 'The model (store.model).';
COMMENT ON COLUMN store.class_confidence.class_id IS 'True class of the images; only classes with images appear.';
COMMENT ON COLUMN store.class_confidence.other_class_id IS 'The class whose confidence is averaged; every class appears.';
COMMENT ON COLUMN store.class_confidence.images IS 'Images of class_id.';
COMMENT ON COLUMN store.class_confidence.mean_confidence IS 'Mean confidence in other_class_id, in [0, 1].';

CREATE TABLE store.class_layout (
  model_id SMALLINT NOT NULL,
  class_id INTEGER NOT NULL,
  x REAL NOT NULL,
  y REAL NOT NULL
);
COMMENT ON TABLE store.class_layout IS 'Base table of the view class_layout.';
COMMENT ON COLUMN store.class_layout.model_id IS 'The model (store.model).';
COMMENT ON COLUMN store.class_layout.class_id IS 'See class_layout.class_id.';
COMMENT ON COLUMN store.class_layout.x IS 'See class_layout.x.';
COMMENT ON COLUMN store.class_layout.y IS 'See class_layout.y.';

CREATE TABLE store.image_layout (
  model_id SMALLINT NOT NULL,
  image_id INTEGER NOT NULL,
  x REAL NOT NULL,
  y REAL NOT NULL
);
COMMENT ON TABLE store.image_layout IS 'Base table of the view image_layout.';
COMMENT ON COLUMN store.image_layout.model_id IS 'The model (store.model).';
COMMENT ON COLUMN store.image_layout.image_id IS 'See image_layout.image_id.';
COMMENT ON COLUMN store.image_layout.x IS 'See image_layout.x.';
COMMENT ON COLUMN store.image_layout.y IS 'See image_layout.y.';

-- main: what was put in ---------------------------------------------------------------------------------------------

CREATE VIEW models AS
SELECT model, label, family, source, parameters, flops, input_size, latency_ms, images_per_second, precision,
  weights_sha256, preprocess, layer, key, created_at
FROM store.model;
COMMENT ON VIEW models IS 'The models (image classifiers) that were run.';
COMMENT ON COLUMN models.model IS 'Name of the model, "provider:name"; what the other relations call it.';
COMMENT ON COLUMN models.label IS 'Short name for plots, unique in this warehouse.';
COMMENT ON COLUMN models.family IS 'Family of architectures, such as ResNet.';
COMMENT ON COLUMN models.source IS 'Provider that the model came from.';
COMMENT ON COLUMN models.parameters IS 'Number of parameters.';
COMMENT ON COLUMN models.flops IS 'Floating point operations of a forward pass of one image (a multiply-add counts as two).';
COMMENT ON COLUMN models.input_size IS 'Side of the square input in pixels.';
COMMENT ON COLUMN models.latency_ms IS 'Milliseconds of a forward pass of one image, measured by the ETL on its machine.';
COMMENT ON COLUMN models.images_per_second IS 'Images predicted per second by the ETL on its machine.';
COMMENT ON COLUMN models.precision IS 'Number format of the computation, such as float32.';
COMMENT ON COLUMN models.weights_sha256 IS 'SHA-256 of the weights.';
COMMENT ON COLUMN models.preprocess IS 'How images were prepared for the model.';
COMMENT ON COLUMN models.layer IS 'Layer that explanations use by default.';
COMMENT ON COLUMN models.key IS 'Key of the files that belong to the model, weights and preprocessing included.';
COMMENT ON COLUMN models.created_at IS 'When the model was first complete (UTC).';

CREATE TABLE classes (
  class_id INTEGER NOT NULL,
  wnid VARCHAR,
  class_name VARCHAR NOT NULL,
  root_class VARCHAR NOT NULL
);
COMMENT ON TABLE classes IS 'The classes that the models tell apart, with or without images.';
COMMENT ON COLUMN classes.class_id IS 'Number of the class, 0 to N-1: its position in the models'' outputs.';
COMMENT ON COLUMN classes.wnid IS 'WordNet id, if the class has one.';
COMMENT ON COLUMN classes.class_name IS 'Name of the class; two classes may share one.';
COMMENT ON COLUMN classes.root_class IS 'The group that the class belongs to.';

CREATE TABLE images (
  image_id INTEGER NOT NULL,
  root VARCHAR NOT NULL,
  path VARCHAR NOT NULL,
  class_id INTEGER NOT NULL,
  width INTEGER,
  height INTEGER,
  bytes BIGINT NOT NULL,
  sha256 VARCHAR
);
COMMENT ON TABLE images IS 'The images, except those in skipped_images.';
COMMENT ON COLUMN images.image_id IS 'Number of the image, stable for this warehouse.';
COMMENT ON COLUMN images.root IS 'Folder that path is relative to; itself relative to the folder of the warehouse if in it.';
COMMENT ON COLUMN images.path IS 'File, relative to the image folder.';
COMMENT ON COLUMN images.class_id IS 'True class of the image.';
COMMENT ON COLUMN images.width IS 'Width in pixels; NULL until the image was decoded.';
COMMENT ON COLUMN images.height IS 'Height in pixels; NULL until the image was decoded.';
COMMENT ON COLUMN images.bytes IS 'Size of the file in bytes.';
COMMENT ON COLUMN images.sha256 IS 'SHA-256 of the file; NULL until the image was decoded.';

CREATE TABLE skipped_images (
  image_id INTEGER NOT NULL,
  root VARCHAR NOT NULL,
  path VARCHAR NOT NULL,
  class_id INTEGER NOT NULL,
  reason VARCHAR NOT NULL
);
COMMENT ON TABLE skipped_images IS 'Images that could not be read; no model saw them.';
COMMENT ON COLUMN skipped_images.image_id IS 'Number of the image, stable for this warehouse.';
COMMENT ON COLUMN skipped_images.root IS 'Folder that path is relative to; itself relative to the folder of the warehouse if in it.';
COMMENT ON COLUMN skipped_images.path IS 'File, relative to the image folder.';
COMMENT ON COLUMN skipped_images.class_id IS 'True class of the image.';
COMMENT ON COLUMN skipped_images.reason IS 'Why it could not be read.';

CREATE TABLE image_objects (
  image_id INTEGER NOT NULL,
  "left" INTEGER NOT NULL,
  top INTEGER NOT NULL,
  "right" INTEGER NOT NULL,
  bottom INTEGER NOT NULL,
  mask BLOB NOT NULL
);
COMMENT ON TABLE image_objects IS 'Where the object is in an image, for data sets that know it.';
COMMENT ON COLUMN image_objects.image_id IS 'The image.';
COMMENT ON COLUMN image_objects."left" IS 'Left edge of the bounding box in pixels (write it in double quotes).';
COMMENT ON COLUMN image_objects.top IS 'Top edge of the bounding box in pixels.';
COMMENT ON COLUMN image_objects."right" IS 'Right edge of the bounding box in pixels, exclusive (write it in double quotes).';
COMMENT ON COLUMN image_objects.bottom IS 'Bottom edge of the bounding box in pixels, exclusive.';
COMMENT ON COLUMN image_objects.mask IS 'The object''s pixels as a 1-bit PNG of the size of the image.';

CREATE TABLE runs (
  run_id VARCHAR NOT NULL,
  started_at TIMESTAMP NOT NULL,
  finished_at TIMESTAMP,
  status VARCHAR NOT NULL,
  command VARCHAR NOT NULL,
  images VARCHAR NOT NULL,
  versions VARCHAR NOT NULL,
  message VARCHAR
);
COMMENT ON TABLE runs IS 'The ETL runs that filled this warehouse.';
COMMENT ON COLUMN runs.run_id IS 'Name of the run.';
COMMENT ON COLUMN runs.started_at IS 'When it began (UTC).';
COMMENT ON COLUMN runs.finished_at IS 'When it ended (UTC); NULL while it runs or if it was killed.';
COMMENT ON COLUMN runs.status IS 'running, finished, finished with errors, interrupted or failed.';
COMMENT ON COLUMN runs.command IS 'What was asked for.';
COMMENT ON COLUMN runs.images IS 'The image folder.';
COMMENT ON COLUMN runs.versions IS 'Versions of the software as a JSON object.';
COMMENT ON COLUMN runs.message IS 'What went wrong, if anything did.';

-- main: what the models answered ------------------------------------------------------------------------------------

CREATE VIEW predictions AS
SELECT m.model, p.image_id, p.class_id, p.predicted_class_id, p.confidence, p.true_confidence, p.true_rank,
  p.predicted_class_id = p.class_id AS correct, p.true_rank <= 5 AS correct_top5,
  p.class_id_2, p.class_id_3, p.class_id_4, p.class_id_5,
  p.confidence_2, p.confidence_3, p.confidence_4, p.confidence_5
FROM store.prediction AS p JOIN store.model AS m ON m.model_id = p.model_id;
COMMENT ON VIEW predictions IS 'The five most confident classes of every model for every image.';
COMMENT ON COLUMN predictions.model IS 'The model.';
COMMENT ON COLUMN predictions.image_id IS 'The image.';
COMMENT ON COLUMN predictions.class_id IS 'True class of the image.';
COMMENT ON COLUMN predictions.predicted_class_id IS 'Class that the model is most confident in.';
COMMENT ON COLUMN predictions.confidence IS 'Confidence (softmax) in the predicted class, in [0, 1].';
COMMENT ON COLUMN predictions.true_confidence IS 'Confidence in the true class, in [0, 1].';
COMMENT ON COLUMN predictions.true_rank IS 'Rank of the true class by confidence; 1 means right.';
COMMENT ON COLUMN predictions.correct IS 'Whether the predicted class is the true one.';
COMMENT ON COLUMN predictions.correct_top5 IS 'Whether the true class is among the five most confident ones.';
COMMENT ON COLUMN predictions.class_id_2 IS 'Class with the second highest confidence.';
COMMENT ON COLUMN predictions.class_id_3 IS 'Class with the third highest confidence.';
COMMENT ON COLUMN predictions.class_id_4 IS 'Class with the fourth highest confidence.';
COMMENT ON COLUMN predictions.class_id_5 IS 'Class with the fifth highest confidence.';
COMMENT ON COLUMN predictions.confidence_2 IS 'Confidence in class_id_2.';
COMMENT ON COLUMN predictions.confidence_3 IS 'Confidence in class_id_3.';
COMMENT ON COLUMN predictions.confidence_4 IS 'Confidence in class_id_4.';
COMMENT ON COLUMN predictions.confidence_5 IS 'Confidence in class_id_5.';

CREATE TABLE model_accuracy (
  model VARCHAR NOT NULL,
  images BIGINT NOT NULL,
  top1 DOUBLE NOT NULL,
  top5 DOUBLE NOT NULL
);
COMMENT ON TABLE model_accuracy IS 'Accuracy of every model over all images.';
COMMENT ON COLUMN model_accuracy.model IS 'The model.';
COMMENT ON COLUMN model_accuracy.images IS 'Images that it predicted.';
COMMENT ON COLUMN model_accuracy.top1 IS 'Fraction of images whose predicted class is right.';
COMMENT ON COLUMN model_accuracy.top5 IS 'Fraction of images whose true class is among the five most confident ones.';

CREATE TABLE root_accuracy (
  model VARCHAR NOT NULL,
  root_class VARCHAR NOT NULL,
  images BIGINT NOT NULL,
  top1 DOUBLE NOT NULL,
  top5 DOUBLE NOT NULL
);
COMMENT ON TABLE root_accuracy IS 'Accuracy of every model over the images of each root class.';
COMMENT ON COLUMN root_accuracy.model IS 'The model.';
COMMENT ON COLUMN root_accuracy.root_class IS 'Root class of the images'' true class.';
COMMENT ON COLUMN root_accuracy.images IS 'Images of the root class that the model predicted.';
COMMENT ON COLUMN root_accuracy.top1 IS 'Fraction of them whose predicted class is right (the leaf class, not just the root).';
COMMENT ON COLUMN root_accuracy.top5 IS 'Fraction of them whose true class is among the five most confident ones.';

CREATE TABLE class_accuracy (
  model VARCHAR NOT NULL,
  class_id INTEGER NOT NULL,
  class_name VARCHAR NOT NULL,
  root_class VARCHAR NOT NULL,
  images BIGINT NOT NULL,
  top1 DOUBLE NOT NULL,
  top5 DOUBLE NOT NULL
);
COMMENT ON TABLE class_accuracy IS 'Accuracy of every model over the images of each class; classes without images have no row.';
COMMENT ON COLUMN class_accuracy.model IS 'The model.';
COMMENT ON COLUMN class_accuracy.class_id IS 'True class of the images.';
COMMENT ON COLUMN class_accuracy.class_name IS 'Its name.';
COMMENT ON COLUMN class_accuracy.root_class IS 'Its root class.';
COMMENT ON COLUMN class_accuracy.images IS 'Images of the class that the model predicted.';
COMMENT ON COLUMN class_accuracy.top1 IS 'Fraction of them whose predicted class is right.';
COMMENT ON COLUMN class_accuracy.top5 IS 'Fraction of them whose true class is among the five most confident ones.';

CREATE TABLE class_spread (
  class_id INTEGER NOT NULL,
  class_name VARCHAR NOT NULL,
  root_class VARCHAR NOT NULL,
  models BIGINT NOT NULL,
  min_top1 DOUBLE NOT NULL,
  max_top1 DOUBLE NOT NULL,
  range_top1 DOUBLE NOT NULL,
  mean_top1 DOUBLE NOT NULL
);
COMMENT ON TABLE class_spread IS 'How much the models differ on each class; classes without images have no row.';
COMMENT ON COLUMN class_spread.class_id IS 'The class.';
COMMENT ON COLUMN class_spread.class_name IS 'Its name.';
COMMENT ON COLUMN class_spread.root_class IS 'Its root class.';
COMMENT ON COLUMN class_spread.models IS 'Models that predicted images of the class.';
COMMENT ON COLUMN class_spread.min_top1 IS 'Lowest accuracy of a model on the class.';
COMMENT ON COLUMN class_spread.max_top1 IS 'Highest accuracy of a model on the class.';
COMMENT ON COLUMN class_spread.range_top1 IS 'Highest minus lowest accuracy.';
COMMENT ON COLUMN class_spread.mean_top1 IS 'Mean accuracy over the models.';

CREATE VIEW confusion AS
SELECT m.model, c.class_id, c.predicted_class_id, c.images
FROM store.confusion AS c JOIN store.model AS m ON m.model_id = c.model_id;
COMMENT ON VIEW confusion IS 'How often each model predicts which class for the images of a class; pairs that never occur have no row.';
COMMENT ON COLUMN confusion.model IS 'The model.';
COMMENT ON COLUMN confusion.class_id IS 'True class of the images.';
COMMENT ON COLUMN confusion.predicted_class_id IS 'Class that the model predicted.';
COMMENT ON COLUMN confusion.images IS 'Number of such images.';

CREATE VIEW class_confidences AS
SELECT m.model, c.class_id, c.images, c.mean_confidence
FROM (
  SELECT model_id, class_id, max(images) AS images, list(mean_confidence ORDER BY other_class_id) AS mean_confidence
  FROM store.class_confidence GROUP BY model_id, class_id
) AS c JOIN store.model AS m ON m.model_id = c.model_id;
COMMENT ON VIEW class_confidences IS 'Mean confidence of every model in each class, over the images of a class; only classes with images.';
COMMENT ON COLUMN class_confidences.model IS 'The model.';
COMMENT ON COLUMN class_confidences.class_id IS 'True class of the images.';
COMMENT ON COLUMN class_confidences.images IS 'Images of the class that the model predicted.';
COMMENT ON COLUMN class_confidences.mean_confidence IS
  'Mean confidence in class 0, 1, 2, ... (SQL lists count from 1: mean_confidence[c + 1] belongs to class c).';

CREATE VIEW class_distances AS
SELECT m.model, a.class_id, a.other_class_id,
  CASE WHEN a.class_id = a.other_class_id THEN 0.0::DOUBLE
    ELSE ((1.0::DOUBLE - a.mean_confidence) + (1.0::DOUBLE - b.mean_confidence)) / 2 END AS distance
FROM store.class_confidence AS a
JOIN store.class_confidence AS b
  ON b.model_id = a.model_id AND b.class_id = a.other_class_id AND b.other_class_id = a.class_id
JOIN store.model AS m ON m.model_id = a.model_id;
COMMENT ON VIEW class_distances IS
  'How far apart a model sees two classes: Algorithm 1 of Xuan et al. (VAC-CNN, TVCG 2022), symmetric, zero diagonal; only classes with images.';
COMMENT ON COLUMN class_distances.model IS 'The model.';
COMMENT ON COLUMN class_distances.class_id IS 'One class.';
COMMENT ON COLUMN class_distances.other_class_id IS 'The other class.';
COMMENT ON COLUMN class_distances.distance IS
  'One minus the mean confidence in the one class over the images of the other, averaged over both directions, in [0, 1].';

CREATE VIEW class_layout AS
SELECT m.model, l.class_id, l.x, l.y
FROM store.class_layout AS l JOIN store.model AS m ON m.model_id = l.model_id;
COMMENT ON VIEW class_layout IS 'Classes in the plane, near each other where the model confuses them: t-SNE of class_distances.';
COMMENT ON COLUMN class_layout.model IS 'The model.';
COMMENT ON COLUMN class_layout.class_id IS 'The class.';
COMMENT ON COLUMN class_layout.x IS 'Horizontal coordinate, without unit.';
COMMENT ON COLUMN class_layout.y IS 'Vertical coordinate, without unit.';

CREATE VIEW image_layout AS
SELECT m.model, l.image_id, l.x, l.y
FROM store.image_layout AS l JOIN store.model AS m ON m.model_id = l.model_id;
COMMENT ON VIEW image_layout IS 'Images in the plane, near each other where they look alike to the model: t-SNE of its penultimate features.';
COMMENT ON COLUMN image_layout.model IS 'The model.';
COMMENT ON COLUMN image_layout.image_id IS 'The image.';
COMMENT ON COLUMN image_layout.x IS 'Horizontal coordinate, without unit.';
COMMENT ON COLUMN image_layout.y IS 'Vertical coordinate, without unit.';

CREATE VIEW dataset AS
SELECT
  (SELECT count(*) FROM images) AS images,
  (SELECT count(*) FROM skipped_images) AS skipped_images,
  (SELECT count(*) FROM classes) AS classes,
  (SELECT count(DISTINCT class_id) FROM images) AS classes_with_images,
  (SELECT count(DISTINCT root_class) FROM classes) AS root_classes,
  (SELECT count(*) FROM store.model) AS models,
  number AS generation,
  published_at
FROM store.generation;
COMMENT ON VIEW dataset IS 'One row of facts about this warehouse.';
COMMENT ON COLUMN dataset.images IS 'Images, except the skipped ones.';
COMMENT ON COLUMN dataset.skipped_images IS 'Images that could not be read.';
COMMENT ON COLUMN dataset.classes IS 'Classes, with or without images.';
COMMENT ON COLUMN dataset.classes_with_images IS 'Classes that have images.';
COMMENT ON COLUMN dataset.root_classes IS 'Root classes.';
COMMENT ON COLUMN dataset.models IS 'Models.';
COMMENT ON COLUMN dataset.generation IS 'Number of this published state; it rises.';
COMMENT ON COLUMN dataset.published_at IS 'When it was published (UTC).';
