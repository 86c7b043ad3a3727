-- What dashboards ask on every click, aggregated once per publish: milliseconds at any number of images.

INSERT INTO class_accuracy
SELECT m.model, a.class_id, c.class_name, c.root_class, a.images, a.right1 / a.images, a.right5 / a.images
FROM (
  SELECT model_id, class_id, sum(images)::BIGINT AS images, sum(right1)::BIGINT AS right1, sum(right5)::BIGINT AS right5
  FROM store.answer_count GROUP BY model_id, class_id
) AS a JOIN store.model AS m USING (model_id) JOIN classes AS c USING (class_id)
ORDER BY a.model_id, a.class_id;

-- Accuracies over more than one class are sums of counts again, never means of rates.
INSERT INTO root_accuracy
SELECT m.model, c.root_class, sum(a.images)::BIGINT,
  sum(a.right1)::BIGINT / sum(a.images)::BIGINT, sum(a.right5)::BIGINT / sum(a.images)::BIGINT
FROM store.answer_count AS a JOIN store.model AS m USING (model_id) JOIN classes AS c USING (class_id)
GROUP BY m.model_id, m.model, c.root_class ORDER BY m.model_id, c.root_class;

INSERT INTO model_accuracy
SELECT m.model, sum(a.images)::BIGINT,
  sum(a.right1)::BIGINT / sum(a.images)::BIGINT, sum(a.right5)::BIGINT / sum(a.images)::BIGINT
FROM store.answer_count AS a JOIN store.model AS m USING (model_id)
GROUP BY m.model_id, m.model ORDER BY m.model_id;

INSERT INTO class_spread
SELECT class_id, class_name, root_class, count(*), min(top1), max(top1), max(top1) - min(top1), avg(top1)
FROM class_accuracy GROUP BY class_id, class_name, root_class ORDER BY class_id;
