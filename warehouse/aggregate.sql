-- What dashboards ask on every click, aggregated once per publish: milliseconds at any number of images.

INSERT INTO store.confusion
SELECT model_id, class_id, predicted_class_id, count(*)
FROM store.prediction GROUP BY ALL ORDER BY ALL;

INSERT INTO class_accuracy
SELECT m.model, a.class_id, c.class_name, c.root_class, a.images, a.right1 / a.images, a.right5 / a.images
FROM (
  SELECT model_id, class_id, count(*) AS images,
    count(*) FILTER (WHERE predicted_class_id = class_id) AS right1,
    count(*) FILTER (WHERE true_rank <= 5) AS right5
  FROM store.prediction GROUP BY model_id, class_id
) AS a JOIN store.model AS m USING (model_id) JOIN classes AS c USING (class_id)
ORDER BY a.model_id, a.class_id;

-- Accuracies over more than one class are counted from the predictions again: sums of counts, never means of rates.
INSERT INTO root_accuracy
SELECT m.model, c.root_class, count(*),
  count(*) FILTER (WHERE p.predicted_class_id = p.class_id) / count(*),
  count(*) FILTER (WHERE p.true_rank <= 5) / count(*)
FROM store.prediction AS p JOIN store.model AS m USING (model_id) JOIN classes AS c USING (class_id)
GROUP BY m.model_id, m.model, c.root_class ORDER BY m.model_id, c.root_class;

INSERT INTO model_accuracy
SELECT m.model, count(*),
  count(*) FILTER (WHERE p.predicted_class_id = p.class_id) / count(*),
  count(*) FILTER (WHERE p.true_rank <= 5) / count(*)
FROM store.prediction AS p JOIN store.model AS m USING (model_id)
GROUP BY m.model_id, m.model ORDER BY m.model_id;

INSERT INTO class_spread
SELECT class_id, class_name, root_class, count(*), min(top1), max(top1), max(top1) - min(top1), avg(top1)
FROM class_accuracy GROUP BY class_id, class_name, root_class ORDER BY class_id;
